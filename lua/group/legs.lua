-- Group calls, the member's side: a leg is an invite of its own (`to` is the member, `group` the group). It rings its
-- member's devices, and tells the group's invite (see group/groups.lua), perhaps in another shard, what became of them.
--
-- Beside the fields of any invite: counted (how many devices the group knows of: in, ringing, pushed), claimed (the peer
-- whose accept the group decides on in another shard).
-- include: call/invites
-- include: reach/registry
-- include: group/groups

-- A leg outlives the group's deadline a little, so that the group speaks first.
local LEG_SLACK = 2000

-- Tells the groups how many devices their legs have now, once all rules have spoken.
function group_call.report()
  local legs = {}
  for _, invite in pairs(work.changed) do
    if is_leg(invite) then
      legs[#legs + 1] = invite
    end
  end
  for _, leg in ipairs(legs) do
    local inside, ringing, pushed = 0, 0, 0
    if is_pending(leg) then
      inside, ringing, pushed = count(leg)
    end
    local counted = int(inside) .. ' ' .. int(ringing) .. ' ' .. int(pushed)
    if not leg.silent and counted ~= (leg.counted or '0 0 0') then
      local in_before, ringing_before, pushed_before = string.match(leg.counted or '0 0 0', '^(%d+) (%d+) (%d+)$')
      change(leg, 'counted', counted)
      emit(leg.group, 'leg_counts', group_ref(leg), leg.to, int(inside - in_before), int(ringing - ringing_before),
        int(pushed - pushed_before))
    end
  end
end

local function candidates_of_member(member, caller, found, since)
  local candidates = {}
  for id, registered in pairs(registry_of(member)) do
    if id ~= caller then
      candidates[#candidates + 1] = peer_candidate(id, member, registered)
    end
  end
  add_peers_elsewhere(candidates, member, found.peers, caller, since)
  add_push_candidates(candidates, member, found.push)
  if found.trunk and (found.phone or (#candidates == 0 and may_be_number(found))) then
    candidates[#candidates + 1] = trunk_candidate(found.trunk, member)
  end
  return candidates
end

-- New context or mediatypes, unless the leg has heard of later ones.
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
  member, group_invite, group, from, invite_id, room, caller, asks, mediatypes, from_details, context, created_at,
  expires_at, entry, raw)
  local ref = group_call.leg_ref(group_invite, member)
  if work.relayed and is_over(ref, entry) then
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
  local leg = new_invite({
    ref = ref, user = from, to = member, invite_id = invite_id, peer = caller, asks = asks, room = room,
    mediatypes = mediatypes, fromDetails = from_details, context = context, requestId = '',
  }, created_at, expires_at, entry)
  change(leg, 'group', group)
  leg.live_until = tonumber(expires_at) + DAY
  local found = cjson.decode(raw)
  local candidates = candidates_of_member(member, caller, found, entry)
  if #candidates == 0 then
    warn('no_candidates', member)
    finish(leg, 'DECLINED', found.failed and 500 or 480, found.failed and 'internal' or 'unreachable')
    return
  end
  for _, candidate in ipairs(candidates) do
    add_candidate(leg, candidate)
  end
  index_owners(leg, candidates)
  schedule('ring|' .. ref, tonumber(expires_at) + LEG_SLACK)
  ring(leg, candidates, false)
  local news = work.relayed and redis.call('GET', key('news', ref))
  if news then
    update_leg(leg, unpack(cjson.decode(news)))
  end
end

-- Rings the member's devices.
function internal.leg_start(member, group_invite, group, ...)
  start_leg(member, group_invite, group, ...)
  emit(group, 'leg_began', group_invite)
end

function internal.leg_update(_, ref, context, mediatypes, from_details)
  local leg = load_invite(ref)
  if not leg and work.relayed then
    -- It has overtaken the beginning of the leg, which will look for it.
    local news = json.strings({ work.entry, context, mediatypes, from_details })
    remember(key('news', ref), news, now + MEMORY)
  elseif leg and is_pending(leg) then
    update_leg(leg, work.entry, context, mediatypes, from_details)
  end
end

-- The group call is over. (`made` is the entry of the event that made it.) A leg that has won hears that by itself.
function internal.leg_cancel(member, ref, state, code, reason, who, made)
  local leg = load_invite(ref)
  if not leg and work.relayed then
    bury(ref, made)
  end
  if leg and is_pending(leg) and who ~= member then
    if who ~= '' then
      change(leg, 'whoAccepted', who)
    end
    leg.silent = true
    finish(leg, state, tonumber(code), reason)
  end
end

-- One after the other: its turn is over.
function internal.leg_turn_over(member, ref, group_invite, made)
  local leg = load_invite(ref)
  if not leg and work.relayed then
    bury(ref, made)
    emit(callee_of(group_invite), 'leg_ended', group_invite, member, '408', 'timeout', '')
  end
  if leg and is_pending(leg) then
    finish(leg, 'DECLINED_BY_TIMEOUT', 408, 'timeout')
  end
end
