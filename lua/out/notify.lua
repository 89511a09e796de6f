-- Notifications. One entry of the stream is for all its recipients.
-- include: core/unit
-- include: core/json
-- include: core/story

local notify

do
  -- The notes of a unit's notifications stay for the next ones: such a table costs as much as a small command.
  local notes = {}

  -- `peers` and `users` are lists in JSON. `invite` is the invite that it is about, `code` the code in its story; nil for
  -- none. `names` are the peers as the story has them, if it has them in other words.
  function notify(kind, peers, users, payload, invite, code, names)
    local told = work.told + 1
    work.told = told
    local note = notes[told] or { 'XADD', NOTIFICATIONS, '*', 'id', '', 'type', '', 'peers', '', 'users', '', 'payload', '' }
    notes[told], note[2], note[5], note[7] = note, NOTIFICATIONS, shard .. '-' .. work.origin .. '-' .. digits[told], kind
    note[9], note[11], note[13] = peers, users, payload
    if note[14] then -- the trace of another event
      note[14], note[15] = nil, nil
    end
    local number = add('stream', note)
    if invite and settings.story then
      story.tell(invite, kind, code, names or peers, number)
    end
  end
end

-- The beginning of each payload about an invite, an open JSON object. (Events bring it; timers make it here.)
local function head_of(invite)
  if not invite.head then
    invite.head = '{"inviteId":' .. quoted[invite.inviteId]
      .. ',"from":' .. quoted[invite.from]
      .. ',"to":' .. quoted[invite.to]
  end
  return invite.head
end

-- Answers the requesting peer. `request` is {type, peer, user, transaction, ref}, `head` is as `head_of` returns it. `ref`
-- is that of the invite in whose story the answer stands; nil for none.
-- Events of services name no peer and have no answer.
local function answer(request, head, code, reason, who, invitations, more)
  if not request.peer or request.peer == '' then
    return
  end
  notify('answer', '[' .. quoted[request.peer] .. ']', '[' .. quoted[request.user] .. ']',
    head .. ',"request":' .. quoted[request.type]
      .. (request.transaction ~= '' and ',"transaction":' .. request.transaction or '')
      .. ',"code":' .. digits[code] .. ',"reason":' .. (reason and quoted[reason] or 'null')
      .. (who and ',"whoAccepted":' .. quoted[who] or '')
      .. (invitations and ',"invitations":[' .. table.concat(invitations, ',') .. ']' or '')
      .. (more and ',"more":true' or '') .. '}', work.invites[request.ref or ''], digits[code])
end
