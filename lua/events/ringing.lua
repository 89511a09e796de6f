-- ringing: a device says that it rings. At the first one the inviter gets 180.
--
-- Arguments  device (nil where none is given)
-- Reads      the invite and its candidates; with a device its registration
-- include: call/enlist
-- include: call/requests
-- include: reach/presence

-- The states of a peer that was lost, or has declined. Its `ringing` is late.
local OUT = { AWAY = true, GONE = true, DECLINED = true, REJECTED = true }

-- The candidate is a later connection of the device: it has registered, or was lost, after this event.
local function is_later(candidate)
  local user = owner(candidate)
  local found = registry.find(user, candidate.id)
  local ended = not found and presence.left(user, candidate.id)
  return order.later(found and found.at or ended and ended.lost, work.entry)
end

-- The candidate of a later connection than the sender's, if the device has one.
local function later_connection(invite, request)
  for id, candidate in pairs(candidates_of(invite)) do
    if candidate.device == request.device and owner(candidate) == request.user and id ~= request.peer
      and candidate.type ~= 'PUSH' and is_later(candidate) then
      return candidate
    end
  end
end

function events.ringing(peer, user, ref, head, device)
  if is_passed_on('ringing', ref, user, peer, head, device) then
    return
  end
  local request = request_of('ringing', peer, user, '', device)
  local invite, candidate = admit(request, ref, head)
  if not invite then
    return
  elseif not is_pending(invite) then
    -- The device has not received the end and must stop.
    answer_over(request, invite)
    return
  elseif candidate and (candidate.declined == peer
    or (OUT[candidate.state] and (candidate.id == peer or candidate.followed))) then
    return
  end
  candidate = request.device and later_connection(invite, request) or enlist(invite, candidate, request)
  if candidate.state == 'CALLED' then
    set_state(invite, candidate, 'RINGING')
    invite.kind.progress(invite, 'ringing')
  end
end
