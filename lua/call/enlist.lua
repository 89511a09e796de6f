-- A device answers an invite: the answering peer becomes its candidate.
-- exports: enlist
-- include: reach/registry
-- include: call/requests

-- No connection of the device is known.
local UNCONNECTED = { AWAY = true, GONE = true, PUSHING = true, PUSHED = true }

-- The device answers as another peer than its candidate's, or its candidate is a push.
local function connect(invite, candidate, peer)
  rename_candidate(invite, candidate, peer)
  candidate.session, candidate.unheard, candidate.also = nil, nil, nil
  if candidate.type == 'PUSH' then
    candidate.type, candidate.push = 'PEER', true
  end
  if UNCONNECTED[candidate.state] or has_declined_for_connection(candidate) then
    candidate.state, candidate.endReason = 'CALLED', nil
  end
  touch(invite, candidate)
end

-- The candidate's device was unknown. The device's other candidate is the same device.
local function name_device(invite, candidate, device)
  for _, other in pairs(candidates_of(invite)) do
    if other ~= candidate and other.device == device and owner(other) == owner(candidate) then
      remove_candidate(invite, other)
      candidate.silenced = candidate.silenced or other.silenced
    end
  end
  candidate.device = device
  touch(invite, candidate)
end

-- Returns the peer's candidate. A device of the callee that is no candidate becomes one.
function enlist(invite, candidate, request)
  if not candidate then
    candidate = registry.candidate(request.peer, request.user, {
      device = request.device or registry.device(request.user, request.peer),
    })
    add_candidate(invite, candidate)
    return candidate
  end
  if candidate.type == 'PUSH' or candidate.id ~= request.peer then
    connect(invite, candidate, request.peer)
  end
  if request.device and candidate.device ~= request.device then
    name_device(invite, candidate, request.device)
  end
  return candidate
end
