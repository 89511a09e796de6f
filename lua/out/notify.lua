-- Notifications. One entry of the stream is for all its recipients.
-- include: core/unit
-- include: core/json
-- include: core/story

-- `invite` is the one that it is about, `code` what its story says of it; nil for none.
local function notify(kind, peers, users, payload, invite, code)
  work.told = work.told + 1
  local names = json.strings(peers)
  local note = add('stream', { 'XADD', NOTIFICATIONS,
    '*', 'id', shard .. '-' .. work.origin .. '-' .. int(work.told),
    'type', kind, 'peers', names, 'users', json.strings(users), 'payload', payload,
  })
  if invite and settings.story then
    story.tell(invite, kind, code, peers[story.MOST_NAMES + 1] and story.some_names(peers) or names, note)
  end
end

-- The beginning of each payload about an invite, an open JSON object. (Events bring it; timers make it here.)
local function head_of(invite)
  if not invite.head then
    invite.head = '{"inviteId":' .. json.quote(invite.inviteId)
      .. ',"from":' .. json.quote(invite.from)
      .. ',"to":' .. json.quote(invite.to)
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
  notify('answer', { request.peer }, { request.user }, head .. ',"request":' .. json.any(request.type)
    .. (request.transaction ~= '' and ',"transaction":' .. request.transaction or '')
    .. ',"code":' .. int(code) .. ',"reason":' .. json.text(reason)
    .. (who and ',"whoAccepted":' .. json.quote(who) or '')
    .. (invitations and ',"invitations":[' .. table.concat(invitations, ',') .. ']' or '')
    .. (more and ',"more":true' or '') .. '}', work.invites[request.ref or ''], int(code))
end
