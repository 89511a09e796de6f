-- The member's side of a group call. A leg is an invite of its own (`to` is the member, `group` the group). It rings
-- the member's devices and reports to the group's invite (see group/groups.lua), perhaps in another shard. What the group
-- says to it is in group/from_group.lua.
--
-- A leg is
--   RINGING  while it is pending and without claims
--   CLAIMED  while it is pending and the group's shard decides: a device has accepted, or the deadline has passed
--   OVER
--
-- A leg also has the fields
--   claims   of a CLAIMED leg: the accepts that the group's shard decides about (JSON, a list of requests)
--   counted  the numbers of devices that the group knows: in, ringing, pushed; reports: how often it was told
--
-- A claim is a lease: until the group's shard has decided, the ring timer asks it again. So a message that a shard
-- loses in a fail-over does not leave a leg undecided.
-- include: core/emit
-- include: core/refs
-- include: call/winning
-- include: out/ended_call

-- A leg's own deadline is a little later (ms), so that the group's comes first.
local LEG_SLACK = 2000

-- How long the leg waits for the group's shard before it asks again (ms): as long as it takes until another worker
-- takes a relayed message over.
local LEASE = 5000

kinds.leg.count = count_candidates

-- `report` tells the group about ringing devices and pushes.
function kinds.leg.progress() end

-- The ref of the group's invite.
local function group_ref(leg)
  return with_callee(leg.ref, leg.group)
end

function kinds.leg.state_of(leg)
  return not is_pending(leg) and 'OVER' or leg.claims and 'CLAIMED' or 'RINGING'
end

-- When the leg ends by itself (ms since 1970).
function kinds.leg.deadline(leg)
  return tonumber(leg.expiresAt) + LEG_SLACK
end

-- Asks the group's shard what has become of the call, in the name of the first device that has accepted.
local function ask(leg)
  schedule('ring|' .. leg.ref, now + LEASE)
  local first = claims_of(leg)[1] or { peer = '' }
  emit(leg.group, 'leg_asks', group_ref(leg), leg.to, first.peer, first.device or '', first.context or '')
end

-- Claims the leg with these accepts, and lets the group decide.
local function claim(leg, claims)
  leg.claims = cjson.encode(claims)
  ask(leg)
  if is_pending(leg) then
    change(leg, 'claims', leg.claims)
  end
end

-- The group has not ended the leg at its own deadline. Perhaps this leg has won, and this shard has lost that.
local function has_outlived_its_call(leg, reason)
  return reason == 'timeout' and not is_here(leg.group) and now >= kinds.leg.deadline(leg)
end

-- The leg is over, and its group knows.
function kinds.leg.close(leg, state, code, reason, winner, decliner)
  if winner then
    note_request(leg)
  end
  stop_devices(leg, state, code, reason, winner, decliner)
  ended_call.note(leg)
  for _, request in ipairs(claims_of(leg)) do
    answer_late(leg, request, candidate_of_request(leg, request))
  end
end

-- Ends the leg; as ACCEPTED when the group has decided so. While the group decides, nothing else ends a leg that a device has
-- accepted.
function kinds.leg.finish(leg, state, code, reason, winner, decliner)
  local is_claimed = kinds.leg.state_of(leg) == 'CLAIMED'
  if state ~= 'ACCEPTED' and is_claimed and #claims_of(leg) > 0 then
    return ask(leg)
  elseif not is_claimed and has_outlived_its_call(leg, reason) then
    return claim(leg, {})
  end
  kinds.leg.close(leg, state, code, reason, winner, decliner)
  emit(leg.group, 'leg_ended', group_ref(leg), leg.to, int(code), reason, decliner and decliner.id or '',
    leg.answerContext or '')
end

-- The group decides who wins, and the end of the leg answers the device.
function kinds.leg.accept(leg, request, candidate)
  local claims = claims_of(leg)
  request.device = request.device or (candidate and candidate.device)
  claims[#claims + 1] = request
  claim(leg, claims)
end

-- Tells the group the counts of the leg's devices. The message of the leg's end implies that it has none left.
function kinds.leg.report(leg)
  if not is_pending(leg) then
    return
  end
  local inside, ringing, pushed = count_candidates(leg)
  local counted, known = int(inside) .. ' ' .. int(ringing) .. ' ' .. int(pushed), leg.counted or '0 0 0'
  if counted ~= known then
    local in_before, ringing_before, pushed_before = string.match(known, '^(%d+) (%d+) (%d+)$')
    change(leg, 'counted', counted)
    change(leg, 'reports', int(tonumber(leg.reports or 0) + 1))
    emit(leg.group, 'leg_counts', group_ref(leg), leg.to, int(inside - in_before), int(ringing - ringing_before),
      int(pushed - pushed_before), leg.reports, int(inside), int(ringing), int(pushed))
  end
end
