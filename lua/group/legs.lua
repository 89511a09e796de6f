-- The member's side of a group call. A leg is an invite of its own (`to` is the member, `group` the group). It rings
-- the member's devices and reports to the group's invite (see group/groups.lua), perhaps in another shard.
--
-- A leg also has the fields
--   counted  the numbers of devices that the group knows: in, ringing, pushed
--   claimed  the accepts that the group's shard decides about (JSON, a list of requests)
--   asked    "1" once the leg has asked the group's shard why its deadline has passed
--
-- A claim is a lease: until the group's shard has decided, the ring timer asks it again. So a message that a shard
-- loses in a fail-over does not leave a leg undecided. All messages may come twice and late.
-- include: core/emit
-- include: core/refs
-- include: reach/presence
-- include: reach/registry
-- include: reach/away
-- include: reach/push
-- include: reach/user_states
-- include: call/limits
-- include: call/busy
-- include: call/trunk_failure
-- include: call/waking
-- include: call/winning
-- include: call/joining
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

-- Messages name a leg by its ref and its group: another invite may have the ref, a direct one or a leg of another group.
-- Workers of an earlier release name no group.
local function load_leg(ref, group)
  local leg = load_invite(ref)
  return leg and is_leg(leg) and (not group or leg.group == group) and leg or nil
end

-- The leg's name among the marks that are left for a leg before it begins.
local function mark_name(ref, group, member)
  return with_callee(ref, group or member) .. '|' .. member
end

-- Asks the group's shard what has become of the call, in the name of the first device that has accepted.
local function ask(leg)
  schedule('ring|' .. leg.ref, now + LEASE)
  local first = claims_of(leg)[1] or { peer = '' }
  emit(leg.group, 'leg_asks', group_ref(leg), leg.to, first.peer, first.device or '', first.context or '')
end

-- Must the group's shard be asked before the leg ends?
local function is_undecided(leg, reason)
  if leg.claimed then
    return true
  elseif reason ~= 'timeout' or leg.asked or is_here(leg.group)
    or now < tonumber(leg.expiresAt) + LEG_SLACK then
    return false
  end
  -- The group has not ended the leg at its own deadline. Perhaps this leg has won, and this shard has lost that.
  change(leg, 'asked', '1')
  return true
end

function kinds.leg.finish(leg, state, code, reason, winner, decliner)
  if not winner and not leg.silent and not leg.decided and is_undecided(leg, reason) then
    return ask(leg)
  end
  if winner then
    note_request(leg)
  end
  stop_devices(leg, state, code, reason, winner, decliner)
  ended_call.note(leg)
  for _, request in ipairs(claims_of(leg)) do
    answer_late(leg, request, candidate_of_request(leg, request))
  end
  if not leg.silent then
    emit(leg.group, 'leg_ended', group_ref(leg), leg.to, int(code), reason, decliner and decliner.id or '',
      leg.answerContext or '')
  end
end

-- The group decides who wins, and the end of the leg answers the device.
function kinds.leg.accept(leg, request, candidate)
  local claims = claims_of(leg)
  request.device = request.device or (candidate and candidate.device)
  claims[#claims + 1] = request
  leg.claimed = cjson.encode(claims)
  ask(leg)
  if is_pending(leg) then
    change(leg, 'claimed', leg.claimed)
  end
end

-- Tells the group how the numbers of devices have changed.
function kinds.leg.report(leg)
  local inside, ringing, pushed = 0, 0, 0
  if is_pending(leg) then
    inside, ringing, pushed = count_candidates(leg)
  end
  local counted = int(inside) .. ' ' .. int(ringing) .. ' ' .. int(pushed)
  if not leg.silent and counted ~= (leg.counted or '0 0 0') then
    local in_before, ringing_before, pushed_before = string.match(leg.counted or '0 0 0', '^(%d+) (%d+) (%d+)$')
    change(leg, 'counted', counted)
    emit(leg.group, 'leg_counts', group_ref(leg), leg.to, int(inside - in_before), int(ringing - ringing_before),
      int(pushed - pushed_before))
  end
end

local function candidates_of_member(member, caller, found, since)
  local candidates = {}
  for id, registered in pairs(registry.of(member)) do
    if id ~= caller then
      candidates[#candidates + 1] = registry.candidate(id, member, registered)
    end
  end
  presence.add_connected_at_sippo(candidates, member, found.peers, caller, since)
  add_push_candidates(candidates, member, found.push)
  away.add(candidates, member, caller)
  local other_trunks
  if found.trunk and (found.phone or (#candidates == 0 and trunks.may_be_number(found))) then
    local present = {}
    for _, candidate in ipairs(candidates) do
      present[candidate.id] = true
    end
    candidates[#candidates + 1], other_trunks = trunks.next(found.trunk, member, present)
  end
  return candidates, other_trunks
end

-- Tells the devices new context or mediatypes, unless they know later ones.
local function update_leg(leg, entry, context, mediatypes, from_details)
  if not order.later(entry, last_word(leg)) then
    return
  end
  change(leg, 'updated', entry)
  for field, value in pairs({ context = context, mediatypes = mediatypes, fromDetails = from_details }) do
    if value ~= '' then
      change(leg, field, value)
    end
  end
  ring_again(leg)
end

local function start_leg(
  member, group_invite, group, from, invite_id, room, caller, invite_request, mediatypes, from_details, context,
  created_at, expires_at, entry, raw, replaces)
  local ref = with_callee(group_invite, member)
  local name = mark_name(ref, group, member)
  if work.relayed and is_over(name, entry) then
    return
  end
  if load_invite(ref) then
    return emit(group, 'leg_left_out', group_invite, member)
  end
  if tonumber(expires_at) <= now then
    return emit(group, 'leg_ended', group_invite, member, '408', 'timeout', '')
  end
  if redis.call('EXISTS', key('stopped', ref), key('stopped', '|' .. invite_id .. '|' .. member)) > 0 then
    return emit(group, 'leg_ended', group_invite, member, '487', 'cancelled', '')
  end
  local join = joins.answered_before({
    kind = kinds.leg, room = room ~= '' and room or nil, from = from, to = member, caller = caller,
  })
  if not join and user_states.refuses(member, from) then
    info('undisturbed', member, from)
    return emit(group, 'leg_ended', group_invite, member, '480', 'unreachable', '')
  end
  local limit = limits.of_callee(from, member, 0)
  if limit then
    warn('invite_refused', limit, from, member)
    return emit(group, 'leg_ended', group_invite, member, '403', 'too_many', '')
  end
  local leg = new_invite({
    ref = ref, user = from, to = member, invite_id = invite_id, peer = caller, room = room,
    invite_request = invite_request, mediatypes = mediatypes, fromDetails = from_details, context = context,
    requestId = '',
  }, created_at, expires_at, entry)
  set_group(leg, group)
  if replaces then
    change(leg, 'replaces', replaces)
  end
  leg.live_until = lifetimes.pending(leg)
  if join then
    index_owners(leg, {})
    return joins.accept(leg, join.peer, join.device)
  end
  local found = cjson.decode(raw)
  local candidates, other_trunks = candidates_of_member(member, caller, found, entry)
  if #candidates == 0 then
    warn('no_candidates', member)
    finish(leg, 'DECLINED', found.failed and 500 or 480, found.failed and 'internal' or 'unreachable')
    return
  end
  candidates = busy.choose(leg, candidates)
  if #candidates == 0 then
    return finish(leg, 'DECLINED', 486, 'busy')
  end
  for _, candidate in ipairs(candidates) do
    add_candidate(leg, candidate)
  end
  trunk_failure.prepare(leg, other_trunks)
  index_owners(leg, candidates)
  schedule('ring|' .. ref, tonumber(expires_at) + LEG_SLACK)
  ring(leg, candidates, false)
  waking.expect_ringing(leg, candidates)
  local news = work.relayed and redis.call('GET', key('news', name))
  if news then
    update_leg(leg, unpack(cjson.decode(news)))
  end
end

-- Starts the leg.
function internal.leg_start(member, group_invite, group, ...)
  start_leg(member, group_invite, group, ...)
  emit(group, 'leg_began', group_invite)
end

function internal.leg_update(member, ref, context, mediatypes, from_details, group)
  local leg = load_leg(ref, group)
  if not leg and work.relayed then
    -- This has overtaken `leg_start`, which looks for the note.
    local news = json.strings({ work.entry, context, mediatypes, from_details })
    remember(key('news', mark_name(ref, group, member)), news, lifetimes.order())
  elseif leg and is_pending(leg) then
    update_leg(leg, work.entry, context, mediatypes, from_details)
  end
end

-- The group call is over. `made` is the entry that made it, `winner` the peer that has accepted. The winning leg hears
-- `leg_won` instead.
function internal.leg_cancel(member, ref, state, code, reason, who, made, winner, group)
  local leg = load_leg(ref, group)
  if not leg and work.relayed then
    tombstone(mark_name(ref, group, member), made)
  end
  if leg and is_pending(leg) and who ~= member then
    if who ~= '' then
      change(leg, 'whoAccepted', who)
    end
    if winner and winner ~= '' then
      change(leg, 'acceptedBy', winner)
    end
    leg.silent = true
    finish(leg, state, tonumber(code), reason)
  end
end

-- Sequential: the leg's turn is over.
function internal.leg_turn_over(member, ref, group_invite, made)
  local group = callee_of(group_invite)
  local leg = load_leg(ref, group)
  if not leg and work.relayed then
    tombstone(mark_name(ref, group, member), made)
    emit(group, 'leg_ended', group_invite, member, '408', 'timeout', '')
  end
  if leg and is_pending(leg) then
    finish(leg, 'DECLINED_BY_TIMEOUT', 408, 'timeout')
  end
end

-- The group's invite has decided that this leg wins, by an accept of this device.
function internal.leg_won(_, ref, peer, device, context, group)
  local leg = load_leg(ref, group)
  if not leg or not is_pending(leg) then
    return
  end
  for _, request in ipairs(claims_of(leg)) do
    if request.peer == peer then
      return win(leg, request, candidate_of_request(leg, request))
    end
  end
  -- This shard has lost the claim.
  local candidate = candidates_of(leg)[peer]
  local request = request_of('accept', peer, candidate and owner(candidate) or leg.to, '', device, context)
  win(leg, request, candidate_of_request(leg, request))
end
