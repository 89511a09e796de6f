-- The notifications and push jobs for devices: ring, and stop.
-- exports: ring, ring_again, cancel, cancel_words
-- include: reach/push
-- include: call/candidates
-- include: out/notify

-- A trunk has the invitation in an entry of its own, with the number to dial.
local function invite_trunk(invite, candidate, payload)
  notify('invitation', '[' .. quoted[candidate.id] .. ']', '[' .. quoted[candidate.user] .. ']',
    string.sub(payload, 1, -2) .. ',"number":' .. quoted[candidate.address] .. '}', invite)
end

-- Are that many candidates all that the invite has?
local function are_all(invite, count)
  for _ in pairs(candidates_of(invite)) do
    count = count - 1
  end
  return count == 0
end

-- Tells all peers in one entry. Each push device has a job of its own. (Most invites ring few devices of one user: joining
-- their names as texts is cheaper than a list. Of many it is far dearer: each step copies all that is joined.)
local function tell_devices(kind, invite, candidates, payload, code)
  local count, peers, more, users, first, others = 0, nil, nil, nil, nil, nil
  for i = 1, #candidates do
    local candidate = candidates[i]
    -- A device that is away rings when it is back.
    local told = kind ~= 'invitation'
      or (not is_quiet(invite, candidate) and (candidate.state ~= 'AWAY' or candidate.type == 'PUSH'))
    if told and candidate.type == 'PUSH' then
      push(kind, invite, candidate, payload)
    elseif told and candidate.type == 'PSTN' and kind == 'invitation' then
      invite_trunk(invite, candidate, payload)
    elseif told then
      local peer, user = quoted[candidate.id], candidate.user or candidate.address
      if count < story.MOST_NAMES then
        count, peers = count + 1, peers and peers .. ',' .. peer or peer
      else
        more = more or {}
        more[#more + 1] = peer
      end
      if not users then
        users, first = quoted[user], user
      elseif user ~= first and not (others and others[user]) then
        others = others or {}
        others[user] = true
        users = users .. ',' .. quoted[user]
      end
    end
    if told and verbosity > 1 then
      debug(kind == 'invitation' and 'send_invitation' or 'send_cancel', payload, candidate_for_log(candidate),
        invite.inviteId)
    end
  end
  if more then
    local names = '[' .. peers .. ']+' .. int(#more)
    notify(kind, '[' .. peers .. ',' .. table.concat(more, ',') .. ']', '[' .. users .. ']', payload, invite, code, names)
  elseif peers then
    notify(kind, '[' .. peers .. ']', '[' .. users .. ']', payload, invite, code,
      kind == 'invitation' and are_all(invite, count) and story.ALL or nil)
  end
end

-- Sends the invitation to candidates of the invite.
function ring(invite, candidates, resumed)
  if invite.held then
    return
  end
  local payload = head_of(invite)
    .. (invite.group and ',"group":' .. quoted[invite.group] or '')
    .. (invite.room and ',"room":' .. quoted[invite.room] or '')
    .. ',"mediatypes":' .. json.opaque(invite.mediatypes)
    .. ',"fromDetails":' .. json.opaque(invite.fromDetails)
    .. ',"context":' .. json.opaque(invite.context)
    .. ',"inviteRequest":' .. (invite.inviteRequest == '1' and 'true' or 'false')
    .. ',"expiresIn":' .. digits[math.max(0, numbers[invite.expiresAt] - now)]
    .. ',"resumed":' .. (resumed and 'true' or 'false')
    .. (invite.waiting and ',"waiting":true' or '')
    .. (invite.requestId and ',"requestId":' .. quoted[invite.requestId] or '')
    .. (invite.replaces and ',"replaces":' .. quoted[invite.replaces] or '') .. '}'
  tell_devices('invitation', invite, candidates, payload)
end

-- Sends the changed invite to the devices that ring.
function ring_again(invite)
  local ringing = {}
  for _, candidate in pairs(candidates_of(invite)) do
    if candidate.state == 'CALLED' or candidate.state == 'RINGING' then
      ringing[#ringing + 1] = candidate
    end
  end
  if #ringing > 0 then
    ring(invite, ringing, true)
  end
end

-- Tells candidates to stop ringing.
function cancel(invite, candidates, code, reason)
  if #candidates == 0 or invite.held or invite.unrung then
    return
  end
  local payload = head_of(invite) .. ',"code":' .. code .. ',"reason":"' .. reason .. '"'
    .. (reason == 'accepted_elsewhere' and ',"whoAccepted":' .. quoted[invite.whoAccepted]
      .. (invite.acceptedBy and ',"peer":' .. quoted[invite.acceptedBy] or '') or '') .. '}'
  tell_devices('invitationCancel', invite, candidates, payload, code)
end

-- The code and reason for devices that have not won. A rejected candidate's user is busy, even if the invite is
-- pending.
function cancel_words(invite, candidate)
  if candidate and candidate.state == 'REJECTED' then
    return '486', 'busy_elsewhere'
  elseif invite.state == 'ACCEPTED' then
    return '200', 'accepted_elsewhere'
  elseif invite.reason == 'declined' then
    return invite.code, 'declined_elsewhere'
  elseif invite.reason == 'busy' then
    return invite.code, 'busy_elsewhere'
  end
  return invite.code, invite.reason
end
