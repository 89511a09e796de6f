-- A leg's messages to its group. Their effect depends only on the message and on the state that the group's shard has
-- for the leg, so a message may come twice or late.
--
--                 WAITING, RINGING                     CLAIMED               OVER
--   leg_counts    counts the devices                   -                     tells the end, if there are new devices
--   leg_asks      with a peer: CLAIMED, tells the end  tells the end         tells the end
--   leg_ended     OVER, goes on                        OVER                  -
--   leg_left_out  leaves it out, goes on               -                     -
--   leg_named     -                                    names the peer        names the peer, if it has won
--
-- "Tells the end" means `leg_won` or `leg_cancel`. A call that is over, or forgotten, has only CLAIMED and OVER legs. A
-- leg has begun with its first message.
-- include: core/emit
-- include: core/refs
-- include: call/direct
-- include: call/naming
-- include: call/redial
-- include: group/groups
-- include: group/roster

local group, roster = kinds.group, kinds.group.roster

local function last_report(leg)
  return tonumber(string.match(leg.counted, '^%d+'))
end

-- Notes the numbers of the leg's devices. Returns whether more of them ring, and whether more have a push.
local function set_counts(call, leg, report, inside, ringing, pushed)
  local inside_before, ringing_before, pushed_before = string.match(leg.counted, ' (%d+) (%d+) (%d+)$')
  leg.counted = int(report) .. ' ' .. int(inside) .. ' ' .. int(ringing) .. ' ' .. int(pushed)
  roster.touch(call, leg)
  local more = {
    devices = inside - inside_before, ringingDevices = ringing - ringing_before, pushedDevices = pushed - pushed_before,
  }
  for field, by in pairs(more) do
    if by ~= 0 then
      change(call, field, int(tonumber(call[field] or 0) + by))
    end
  end
  return more.ringingDevices > 0, more.pushedDevices > 0
end

local function is_out(call, leg)
  set_counts(call, leg, last_report(leg), 0, 0, 0)
  group.leg_is_out(call, leg)
end

-- The numbers of the leg's devices have changed by the first three, and are the last three. An older release sends only
-- the change.
local function count(call, leg, _, _, devices, ringing, pushed, report, inside, ringing_inside, pushed_inside)
  if not report then
    local a, b, c = string.match(leg.counted, ' (%d+) (%d+) (%d+)$')
    report, inside, ringing_inside, pushed_inside = last_report(leg) + 1, a + devices, b + ringing, c + pushed
  elseif tonumber(report) <= last_report(leg) then
    return
  end
  local rings, has_push = set_counts(call, leg, report, inside, ringing_inside, pushed_inside)
  if rings then
    group.progress(call, 'ringing')
  end
  if has_push then
    group.progress(call, 'pushed')
  end
end

-- Tells a leg how it has ended: as the group has decided, as it has ended itself (its shard may have lost that), or with
-- its call.
local function tell_end(call, leg, ref, member)
  local name, to = with_callee(ref, member), callee_of(ref)
  if leg and leg.endReason == 200 then
    emit(member, 'leg_won', name, leg.peer or naming.NOBODY, leg.device or '', leg.context or '', to)
  elseif leg and leg.reason then
    emit(member, 'leg_cancel', name, group.STATE_OF[leg.reason] or 'DECLINED', int(leg.endReason), leg.reason, '', '0-0', '',
      to)
  else
    local state, code, reason, who, winner = group.end_of_legs(call)
    emit(member, 'leg_cancel', name, state, code, reason, who, '0-0', winner, to)
  end
end

-- The leg has begun, or counts again, after its end.
local function count_late(call, leg, ref, member, devices)
  if tonumber(devices) > 0 then
    tell_end(call, leg, ref, member)
  end
end

-- The device `peer` of the leg accepts ("" when none does). This step alone decides who wins, and no device is answered before.
local function decide(call, leg, ref, member, peer, device, context)
  if peer == '' then
    return
  end
  leg.peer = peer ~= naming.NOBODY and peer or nil
  leg.device = device ~= '' and device or nil
  leg.context = context ~= '' and context or nil
  roster.set_state(call, leg, 'CLAIMED', 200)
  if call.strategy == 'all' then
    group.note_accept(call, leg)
    tell_outcome(call, nil, member, leg.peer, leg.context)
  else
    group.finish(call, 'ACCEPTED', 200, 'accepted', leg)
  end
  tell_end(call, leg, ref, member)
  if is_pending(call) then
    is_out(call, leg)
  end
end

local function end_leg(call, leg, _, _, code, reason, peer, context)
  leg.reason = reason
  leg.peer = peer ~= '' and peer or nil
  leg.context = context ~= '' and context or nil
  roster.set_state(call, leg, 'OVER', reason == 'cancelled' and 487 or tonumber(code))
  is_out(call, leg)
end

-- The leg knows that it has won.
local function end_claimed(call, leg)
  leg.state = 'OVER'
  roster.touch(call, leg)
end

local function leave_out(call, leg)
  leg.state = 'OVER'
  roster.leave_out(call, leg)
  group.leg_is_out(call, leg)
end

-- The first accept of a member whose join has won without a peer (see call/naming.lua).
local function name_peer(call, leg, _, member, peer)
  if leg and leg.endReason == 200 and not leg.peer then
    leg.peer = peer
    roster.touch(call, leg)
    if call.whoAccepted == member and not call.acceptedBy then
      change(call, 'acceptedBy', peer)
    end
  end
end

local REACTIONS = {
  leg_counts = { WAITING = count, RINGING = count, OVER = count_late },
  leg_asks = { WAITING = decide, RINGING = decide, CLAIMED = tell_end, OVER = tell_end, NONE = tell_end },
  leg_ended = { WAITING = end_leg, RINGING = end_leg, CLAIMED = end_claimed },
  leg_left_out = { WAITING = leave_out, RINGING = leave_out },
  leg_named = { CLAIMED = name_peer, OVER = name_peer },
}

-- The state that the group's shard has for the leg.
local function state_of(call, leg)
  if call and is_pending(call) then
    return leg and leg.state or 'NONE'
  end
  return leg and leg.state == 'CLAIMED' and 'CLAIMED' or 'OVER'
end

-- Another leg has begun. All that are to ring now may do so.
local function note_begun(call, leg)
  local all = call.begun == call.members
  if all and shards > 1 and work.relayed then
    tell_progress(call)
  end
  if all or (call.strategy == 'sequential' and leg.state == 'RINGING') then
    redial.replace(call)
  end
end

local function hear(message, ref, member, ...)
  local call = load_invite(ref)
  local leg = call and roster.of(call, member)
  local react, is_first = REACTIONS[message][state_of(call, leg)], leg and not leg.counted and is_pending(call)
  if is_first then
    leg.counted = '0 0 0 0'
    roster.touch(call, leg)
    change(call, 'begun', int(tonumber(call.begun or 0) + 1))
  end
  if react then
    react(call, leg, ref, member, ...)
  end
  if is_first and is_pending(call) then
    note_begun(call, leg)
  end
end

function internal.leg_counts(_, ref, member, ...)
  hear('leg_counts', ref, member, ...)
end

function internal.leg_asks(_, ref, member, ...)
  hear('leg_asks', ref, member, ...)
end

function internal.leg_ended(_, ref, member, ...)
  hear('leg_ended', ref, member, ...)
end

function internal.leg_left_out(_, ref, member)
  hear('leg_left_out', ref, member)
end

function internal.leg_named(_, ref, member, peer)
  hear('leg_named', ref, member, peer)
end

-- An older release sends this for each leg.
function internal.leg_began()
end
