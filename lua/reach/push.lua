-- Push jobs, for phones that sleep. A push worker takes a job to sippo-server and settles it (see events/push.lua).
--
-- The id of a push candidate is "|" and its device id. Its state is PUSHING until sippo-server has taken the push, then
-- PUSHED.
-- include: core/unit
-- include: call/candidates

local function push(kind, invite, candidate, payload)
  local deadline = kind == 'invitation' and tonumber(invite.expiresAt) or lifetimes.over(invite)
  add('stream', { 'XADD', PUSH,
    '*', 'type', kind, 'ref', invite.ref, 'user', candidate.address, 'device', candidate.device,
    'deadline', int(deadline), 'payload', payload,
  })
end

local function push_candidate(user, device)
  return { id = push_id(device), address = user, type = 'PUSH', state = 'PUSHING', device = device }
end

-- Adds the devices that are no candidates as peers.
local function add_push_candidates(candidates, user, devices)
  local present = {}
  for _, candidate in ipairs(candidates) do
    present[candidate.device or candidate.id] = true
  end
  for _, device in ipairs(devices or {}) do
    if not present[device] then
      present[device] = true
      candidates[#candidates + 1] = push_candidate(user, device)
    end
  end
end
