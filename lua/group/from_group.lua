-- A group's messages to a leg. Their effect depends only on the message and on the state of the leg, so a message may
-- come twice or late.
--
--                   no such leg                          RINGING          CLAIMED          OVER
--   leg_start       begins it                            -                -                -
--   leg_update      from another shard: leaves `news`    rings again      rings again      -
--   leg_cancel      from another shard: leaves a         OVER             OVER             -
--                   tombstone
--   leg_turn_over   the same, and says that it is over   OVER             asks again       -
--   leg_won         -                                    OVER, has won    OVER, has won    -
--
-- A message names a leg by its ref and its group: another invite may have the ref, a direct one, a leg of another group or one of
-- an earlier call. `leg_start` then answers `leg_left_out`. (Workers of an older release name no group.)
--
-- news:<mark>  an update that has overtaken its `leg_start`: entry, context, mediatypes, fromDetails (JSON, a list); expires
-- over:<mark>  the same for an end (see `tombstone`). A mark is the ref with the group as the callee, "|" and the member
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
-- include: group/legs

local function mark_name(ref, group, member)
  return with_callee(ref, group or member) .. '|' .. member
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

-- Starts the leg of the member. `group_invite` is the ref of the group's invite, `entry` that of the inviter's last word, `raw` the
-- result of the lookup (see group/roster.lua).
function internal.leg_start(
  member, group_invite, group, from, invite_id, room, caller, invite_request, mediatypes, from_details, context,
  created_at, expires_at, entry, raw, replaces)
  local ref = with_callee(group_invite, member)
  local name, other = mark_name(ref, group, member), load_invite(ref)
  local is_repeat = other and is_leg(other) and other.group == group and other.createdAt == created_at
  if is_repeat or (work.relayed and is_over(name, entry)) then
    return
  elseif other then
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
  local limit = limits.of_callee(from, caller, member, 0)
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
  schedule('ring|' .. ref, kinds.leg.deadline(leg))
  ring(leg, candidates, false)
  waking.expect_ringing(leg, candidates)
  local news = work.relayed and redis.call('GET', key('news', name))
  if news then
    update_leg(leg, unpack(cjson.decode(news)))
  end
end

-- The name of the leg that a message is for: its ref, its group and its member.
local function name_of(ref, group, member)
  return { ref = ref, group = group, member = member, mark = mark_name(ref, group, member) }
end

-- There is no such leg. If the message has overtaken `leg_start`, that looks for the tombstone.
local function bury(_, name, made)
  if work.relayed and not is_over(name.mark, made) then
    tombstone(name.mark, made)
  end
end

-- The same for `news`, of which the latest stay.
local function leave_news(_, name, ...)
  local news = key('news', name.mark)
  local known = work.relayed and redis.call('GET', news)
  if work.relayed and not (known and order.later(cjson.decode(known)[1], work.entry)) then
    remember(news, json.strings({ work.entry, ... }), lifetimes.order())
  end
end

local function update(leg, _, ...)
  update_leg(leg, work.entry, ...)
end

-- The winning leg gets `leg_won` instead.
local function cancel_leg(leg, name, _, state, code, reason, who, winner)
  if who == name.member then
    return
  end
  if who ~= '' then
    change(leg, 'whoAccepted', who)
  end
  if winner and winner ~= '' then
    change(leg, 'acceptedBy', winner)
  end
  kinds.leg.close(leg, state, tonumber(code), reason)
end

local function end_turn(leg)
  finish(leg, 'DECLINED_BY_TIMEOUT', 408, 'timeout')
end

local function skip_turn(leg, name, made, group_invite)
  bury(leg, name, made)
  if work.relayed then
    emit(name.group, 'leg_ended', group_invite, name.member, '408', 'timeout', '')
  end
end

local function win_leg(leg, _, peer, device, context)
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

local REACTIONS = {
  leg_update = { NONE = leave_news, RINGING = update, CLAIMED = update },
  leg_cancel = { NONE = bury, RINGING = cancel_leg, CLAIMED = cancel_leg },
  leg_turn_over = { NONE = skip_turn, RINGING = end_turn, CLAIMED = end_turn },
  leg_won = { RINGING = win_leg, CLAIMED = win_leg },
}

local function hear(message, name, ...)
  local leg = load_invite(name.ref)
  leg = leg and is_leg(leg) and (not name.group or leg.group == name.group) and leg or nil
  local react = REACTIONS[message][leg and kinds.leg.state_of(leg) or 'NONE']
  if react then
    react(leg, name, ...)
  end
end

function internal.leg_update(member, ref, context, mediatypes, from_details, group)
  hear('leg_update', name_of(ref, group, member), context, mediatypes, from_details)
end

-- The group call is over. `made` is the entry of the inviter's last word, `who` the member that has accepted, `winner` its peer.
function internal.leg_cancel(member, ref, state, code, reason, who, made, winner, group)
  hear('leg_cancel', name_of(ref, group, member), made, state, code, reason, who, winner)
end

-- Sequential: the leg's turn is over.
function internal.leg_turn_over(member, ref, group_invite, made)
  hear('leg_turn_over', name_of(ref, callee_of(group_invite), member), made, group_invite)
end

-- The group's shard has decided that this leg wins, by an accept of this device.
function internal.leg_won(member, ref, peer, device, context, group)
  hear('leg_won', name_of(ref, group, member), peer, device, context)
end
