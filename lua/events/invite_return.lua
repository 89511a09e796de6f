-- invite with returnOf: the phone network routes a parallel call back. Now the user's devices ring, inside the first
-- invite. The returning leg has no record of its own; its peer hears the same as the first invite's inviter.
--
-- Arguments  return_of (the first invite's ref); to (the callee that the return names); lookup_result (see
--            reach/resolve.lua); device (nil where none is given)
-- Reads      the first invite, the registrations of its callee
-- include: call/indexes
-- include: call/requests
-- include: call/waking
-- include: out/devices
-- include: out/inviter
-- include: reach/away
-- include: reach/resolve

local function refuse(leg, code, reason)
  notify('inviteRejected', { leg.peer }, { leg.user },
    leg.head .. ',"code":' .. code .. ',"reason":"' .. reason .. '"}')
end

-- The callee's devices that are no candidates yet.
local function devices_of(invite, lookup_result)
  local devices = {}
  if invite.to == invite.from then
    return devices
  end
  for id, registered in pairs(registry_of(invite.to)) do
    if not candidates_of(invite)[id] and id ~= invite.caller then
      devices[#devices + 1] = peer_candidate(id, invite.to, registered)
    end
  end
  local answer = looked_up({ found = lookup_result ~= '' and cjson.decode(lookup_result) or nil }, true)
  add_connected_at_sippo(devices, invite.to, answer.peers, invite.caller, work.entry)
  add_push_candidates(devices, invite.to, answer.push)
  away.add(devices, invite.to, invite.caller)
  return devices
end

-- Only the trunk that has the phone leg may return it, and only to the same callee.
local function may_return(invite, request, to)
  local holder = candidate_of_request(invite, request)
  return invite.parallel and invite.to == to and holder and holder.type == 'PSTN'
end

function events.inviteReturn(peer, user, head, return_of, to, transaction, lookup_result, device)
  local leg = request_of('invite', peer, user, transaction, device)
  leg.head = head
  local invite = load_invite(return_of)
  if not invite then
    return refuse(leg, 410, 'not_found')
  elseif not is_pending(invite) then
    return refuse(leg, 410, invite.reason)
  elseif not may_return(invite, leg, to) then
    return refuse(leg, 403, 'forbidden')
  end
  local rung = invite.parallel == 'out' and devices_of(invite, lookup_result) or {}
  change(invite, 'backPeer', peer)
  change(invite, 'backUser', user)
  if invite.parallel == 'back' then
    return tell_progress(invite, transaction, leg)
  end
  change(invite, 'parallel', 'back')
  later({ 'SREM', key('parallel', invite.to), return_of })
  index_pending(invite.to, return_of)
  if #rung > 0 then
    for _, candidate in ipairs(rung) do
      add_candidate(invite, candidate)
    end
    ring(invite, rung, false)
    waking.expect_ringing(invite, rung)
  end
  tell_progress(invite, transaction, leg)
end
