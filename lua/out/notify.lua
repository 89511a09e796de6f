-- Notifications. One entry of the stream is for all its recipients.
-- include: core/unit
-- include: core/json

local function notify(kind, peers, users, payload)
  work.told = work.told + 1
  add('stream', { 'XADD', NOTIFICATIONS,
    '*', 'id', shard .. '-' .. work.origin .. '-' .. int(work.told),
    'type', kind, 'peers', json.strings(peers), 'users', json.strings(users), 'payload', payload,
  })
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

-- Answers the requesting peer. `request` is {type, peer, user, transaction}, `head` is as `head_of` returns it.
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
    .. (more and ',"more":true' or '') .. '}')
end
