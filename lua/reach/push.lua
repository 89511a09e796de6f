-- Push jobs, for phones that sleep. A push worker takes a job to sippo-server and settles it (see events/push.lua).
--
-- The id of a push candidate is "|" and its device id. Its state is PUSHING until sippo-server has taken the push, then
-- PUSHED.
--
-- A job is `unsure` if its event has waited for long: a server that has failed since may have made the same job, and a
-- worker may have sent it.
-- exports: add_push_candidates, as_pushed, push, push_candidate
-- include: core/unit
-- include: core/order
-- include: core/story
-- include: call/candidates

-- How long an event waits while nothing fails (ms): `AT_MOST_MS` in invites/lookup/pushes.py is the same.
local AT_MOST = 500

function push(kind, invite, candidate, payload)
  local deadline = kind == 'invitation' and tonumber(invite.expiresAt) or lifetimes.over(invite)
  local note = { 'XADD', PUSH,
    '*', 'type', kind, 'ref', invite.ref, 'user', candidate.address, 'device', candidate.device,
    'deadline', int(deadline), 'payload', payload,
  }
  if candidate.peer then
    note[#note + 1], note[#note + 2] = 'peer', candidate.peer
  end
  if kind == 'invitation' and now - order.time(work.entry) > AT_MOST then
    note[#note + 1], note[#note + 2] = 'unsure', '1'
  end
  add('stream', note)
  if settings.story then
    story.tell(invite, kind == 'invitation' and 'push' or 'pushCancel', nil, json.strings({ candidate.device }))
  end
end

function push_candidate(user, device)
  return {
    id = push_id(device), address = user, type = 'PUSH', state = 'PUSHING', device = device, push = true,
    unheard = true,
  }
end

-- The device of a candidate that is connected as `peer`, to be pushed to.
function as_pushed(candidate)
  local pushed = push_candidate(candidate.address, candidate.device or candidate.id)
  pushed.peer = candidate.id
  return pushed
end

-- Adds the devices that are no candidates as peers, and notes on the others that a push can wake them.
function add_push_candidates(candidates, user, devices)
  local present = {}
  for _, candidate in ipairs(candidates) do
    present[candidate.device or candidate.id] = candidate
  end
  for _, device in ipairs(devices or {}) do
    if present[device] then
      present[device].push = true
    else
      present[device] = push_candidate(user, device)
      candidates[#candidates + 1] = present[device]
    end
  end
end
