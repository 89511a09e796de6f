-- What leaves through the notifications stream. One entry tells all its recipients.
-- include: core/unit
-- include: core/json

local function notify(kind, peers, users, payload)
  work.told = work.told + 1
  add('stream', { 'XADD', NOTIFICATIONS,
    '*', 'id', shard .. '-' .. work.origin .. '-' .. int(work.told),
    'type', kind, 'peers', json.strings(peers), 'users', json.strings(users), 'payload', payload,
  })
end

-- Begins each payload that is about one invite. (Events bring it along, timers have it made here.)
local function head_of(invite)
  if not invite.head then
    invite.head = '{"inviteId":' .. json.quote(invite.inviteId)
      .. ',"from":' .. json.quote(invite.from)
      .. ',"to":' .. json.quote(invite.to)
  end
  return invite.head
end

-- The answer to the peer that asked. `request` is {type, peer, user, transaction}, `head` the beginning of a payload
-- (as `head_of` makes it).
local function answer(request, head, code, reason, who, invitations)
  if not request.peer or request.peer == '' then
    return
  end
  notify('answer', { request.peer }, { request.user }, head .. ',"request":' .. json.any(request.type)
    .. (request.transaction ~= '' and ',"transaction":' .. request.transaction or '')
    .. ',"code":' .. int(code) .. ',"reason":' .. json.text(reason)
    .. (who and ',"whoAccepted":' .. json.quote(who) or '')
    .. (invitations and ',"invitations":[' .. table.concat(invitations, ',') .. ']' or '') .. '}')
end
