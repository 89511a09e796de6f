-- The group's side of a group call. The group's invite (`to` is the group) decides who wins, when the call ends and
-- what the inviter hears. Each member has a leg, an invite of its own (see group/legs.lua), perhaps in another shard.
--
-- The group's invite also has the fields
--   strategy   "sequential"; "all": each member may accept; or none: all legs ring at once, and one member wins
--   legsState, legsCode, legsReason
--              strategy "all": how the legs have ended that still rang when an accepted call was over
--   members    the number of legs; open: of those that are not over; begun: of those that have begun
--   devices    the number of devices of all legs; ringingDevices, pushedDevices: of those that ring, that have a push
--
-- legs:<ref of the group's invite>, member -> JSON
--   at         the place of the leg in the order of the members
--   state      WAITING (not called yet), OPEN (rings) or OVER
--   endReason  code of a leg that is over; reason; peer (the deciding one), context (what that one tells the inviter),
--              device (that has accepted)
--   push, peers, phone, failed: the result of the lookup (see reach/resolve.lua); trunk: its list of trunks
-- include: core/emit
-- include: core/refs
-- include: core/story
-- include: call/direct
-- include: call/naming
-- include: call/redial
-- include: call/pages
-- include: out/ended_call

-- How many legs one commit starts, ends or updates. 20 legs with three devices each take about 3 ms.
local PAGE = 20

kinds.group.progress = kinds.direct.progress
kinds.group.repeated = kinds.direct.repeated

function kinds.group.count(call)
  return tonumber(call.devices or 0), tonumber(call.ringingDevices or 0), tonumber(call.pushedDevices or 0)
end

local function read_leg(member, raw)
  local leg = cjson.decode(raw)
  leg.member = member
  return leg
end

-- One leg, read alone: each of many legs may send an answer, and reading all for each would be quadratic.
local function leg_of(call, member)
  call.legs = call.legs or {}
  if call.legs[member] == nil and not call.all_read then
    local name = key('legs', call.ref)
    local raw = redis.call('HGET', name, member)
    trust(name)
    call.legs[member] = raw and read_leg(member, raw) or false
  end
  return call.legs[member] or nil
end

-- The legs in one of the states, in their order.
local function legs_in(call, states)
  call.legs = call.legs or {}
  if not call.all_read then
    local name = key('legs', call.ref)
    local flat = redis.call('HGETALL', name)
    trust(name)
    for i = 1, #flat, 2 do
      if call.legs[flat[i]] == nil then
        call.legs[flat[i]] = read_leg(flat[i], flat[i + 1])
      end
    end
    call.all_read = true
  end
  local found = {}
  for _, leg in pairs(call.legs) do
    if leg and states[leg.state] then
      found[#found + 1] = leg
    end
  end
  table.sort(found, function(a, b) return a.at < b.at end)
  return found
end

local WAITING, OPEN, OVER = { WAITING = true }, { OPEN = true }, { OVER = true }
local ANY = { WAITING = true, OPEN = true, OVER = true }

local function leg_json(leg)
  return '{"state":"' .. leg.state .. '","at":' .. int(leg.at)
    .. (leg.endReason and ',"endReason":' .. int(leg.endReason) or '')
    .. (leg.reason and ',"reason":"' .. leg.reason .. '"' or '')
    .. (leg.peer and ',"peer":' .. json.quote(leg.peer) or '')
    .. (leg.device and ',"device":' .. json.quote(leg.device) or '')
    .. (leg.context and ',"context":' .. json.quote(leg.context) or '')
    .. (leg.push and ',"push":' .. json.strings(leg.push) or '')
    .. (leg.peers and ',"peers":' .. json.strings(leg.peers) or '')
    .. (leg.trunk and ',"trunk":' .. json.quote(leg.trunk) or '')
    .. (leg.phone and ',"phone":true' or '')
    .. (leg.failed and ',"failed":true' or '') .. '}'
end

-- Notes the writes of the legs.
local function save_legs(call, legs)
  local name = key('legs', call.ref)
  local note = { 'HSET', name }
  for i, leg in ipairs(legs) do
    note[#note + 1] = leg.member
    note[#note + 1] = leg_json(leg)
    story.tell_leg(call, leg)
    if #note > 1000 or i == #legs then
      add('hash', note)
      note = { 'HSET', name }
    end
  end
end

local function start_leg(call, leg)
  leg.state = 'OPEN'
  save_legs(call, { leg })
  emit(leg.member, 'leg_start', call.ref, call.to, call.from, call.inviteId, call.room or '', call.caller,
    call.inviteRequest, call.mediatypes or '', call.fromDetails or '', call.context or '', call.createdAt,
    call.expiresAt, last_word(call), leg_json(leg), call.replaces)
end

-- Sequential: starts legs until one rings.
local function start_next(call)
  -- A leg that ends while it starts must not start the next one: this loop does.
  if call.starting or tonumber(call.expiresAt) <= now then
    return
  end
  call.starting = true
  local waiting = legs_in(call, WAITING)
  for i, leg in ipairs(waiting) do
    if i > PAGE then
      proceed(call.to, 'legs_start', call.ref)
      break
    end
    if waiting[i + 1] then
      schedule('step|' .. call.ref, now + settings.ringing_step)
    else
      unschedule('step|' .. call.ref)
    end
    start_leg(call, leg)
    if leg.state == 'OPEN' or not is_pending(call) then
      break
    end
  end
  call.starting = false
end

-- All at once: starts a page of legs. Returns true when none is left.
local function start_page(call)
  if tonumber(call.expiresAt) <= now then
    return false
  end
  local waiting = legs_in(call, WAITING)
  for i = 1, math.min(PAGE, #waiting) do
    start_leg(call, waiting[i])
    if not is_pending(call) then
      break -- this member has joined the room meanwhile
    end
  end
  if is_pending(call) and #waiting > PAGE then
    proceed(call.to, 'legs_start', call.ref)
  end
  return #waiting <= PAGE
end

-- Makes the legs of a new group call and starts them. `members` are the members to call (see reach/resolve.lua).
function kinds.group.begin(call, members, strategy)
  call.legs, call.all_read = {}, true
  local legs = {}
  for at, member in ipairs(members) do
    local leg = {
      member = member.user, state = 'WAITING', at = at, push = member.push, peers = member.peers, trunk = member.trunks,
      phone = member.phone, failed = member.failed,
    }
    call.legs[leg.member] = leg
    legs[at] = leg
  end
  save_legs(call, legs)
  expire(key('legs', call.ref), lifetimes.pending(call))
  change(call, 'open', int(#members))
  change(call, 'members', int(#members))
  if strategy == 'sequential' then
    change(call, 'strategy', strategy)
    start_next(call)
  else
    if strategy == 'all' then
      change(call, 'strategy', strategy)
    end
    start_page(call)
  end
end

-- Starts more legs.
function internal.legs_start(_, ref)
  local call = load_invite(ref)
  if not call or not is_pending(call) then
    return
  elseif call.strategy ~= 'sequential' then
    if start_page(call) and is_pending(call) then
      report_changes()
      tell_progress(call)
    end
  elseif #legs_in(call, OPEN) == 0 then
    start_next(call)
  end
end

-- How the legs end that still ring when the call is over: state, code, reason, the member that has accepted and its
-- peer ("" for none).
local function end_of_legs(call)
  if not call or is_pending(call) then
    return 'DECLINED_BY_CREATOR', '487', 'cancelled', '', ''
  elseif call.legsState then
    return call.legsState, call.legsCode, call.legsReason, '', ''
  end
  return call.state, call.code, call.reason, call.whoAccepted or '', call.acceptedBy or ''
end

-- Ends a page of the legs that still ring.
local function cancel_page(call)
  local open = legs_in(call, OPEN)
  local ended = {}
  local state, code, reason, who, winner = end_of_legs(call)
  for i = 1, math.min(PAGE, #open) do
    local leg = open[i]
    leg.state, leg.endReason = 'OVER', code == '408' and 408 or 487
    ended[i] = leg
    emit(leg.member, 'leg_cancel', with_callee(call.ref, leg.member), state, code, reason, who, last_word(call), winner,
      call.to)
  end
  save_legs(call, ended)
  if #open > PAGE then
    proceed(call.to, 'legs_cancel', call.ref)
  end
end

function internal.legs_cancel(_, ref)
  local call = load_invite(ref)
  if call and not is_pending(call) then
    cancel_page(call)
  end
end

-- The members for the record, in their order.
function kinds.group.results(call)
  local list = {}
  local _, code = end_of_legs(call)
  for i, leg in ipairs(legs_in(call, ANY)) do
    list[i] = '{"address":' .. json.quote(leg.member)
      .. ',"peer":' .. json.text(leg.peer)
      .. ',"endReason":' .. int(leg.endReason or code == '408' and 408 or 487)
      .. end_with(leg.context)
  end
  return list
end

-- The member has accepted. It will invite the peer that asks by an inviteRequest, and name this request.
local function note_accept(call, leg)
  leg.state, leg.endReason = 'OVER', 200
  save_legs(call, { leg })
  if not call.whoAccepted then
    measures.add('answered ' .. call.createdAt)
    change(call, 'whoAccepted', leg.member)
    if leg.peer then
      change(call, 'acceptedBy', leg.peer)
    end
    note_context(call, leg)
  end
  if call.inviteRequest == '1' then
    emit(call.from, 'request_taken', with_callee(call.ref, leg.member), call.caller, asks_until(call))
  end
  info('accepted', call.inviteId, call.room or 'undefined', leg.member)
end

-- Tells the members that they have missed the call, unless they have answered it (see out/ended_call.lua).
function pages.missed_by(_, members, ref)
  local call = load_invite(ref)
  for _, member in ipairs(call and members or {}) do
    local leg = leg_of(call, member)
    local _, code, reason = end_of_legs(call)
    if leg and (leg.reason or leg.endReason == 200) then
      code, reason = int(leg.endReason), leg.reason
    end
    if leg and ended_call.is_missed(code, reason) then
      emit(member, 'call_missed', with_callee(ref, member), call.to, call.room or '', call.fromDetails or '',
        call.inviteRequest, code, reason, call.createdAt)
    end
  end
end

-- `winner` is the winning leg.
function kinds.group.finish(call, state, code, reason, winner)
  local was_accepted = call.whoAccepted
  if was_accepted then
    change(call, 'legsState', state)
    change(call, 'legsCode', int(code))
    change(call, 'legsReason', reason)
    state, code, reason = 'ACCEPTED', 200, 'accepted'
  end
  set_end(call, state, code, reason)
  expire(key('legs', call.ref), call.live_until)
  if winner then
    note_accept(call, winner)
  end
  unschedule('step|' .. call.ref)
  unindex(call)
  unlist(call)
  if not was_accepted then
    tell_outcome(call)
  end
  record(call)
  ended_call.note(call)
  if state ~= 'ACCEPTED' or call.strategy == 'all' then
    -- One member has taken the call for all, or each is asked for itself.
    local called = {}
    for _, leg in ipairs(legs_in(call, ANY)) do
      called[#called + 1] = leg.state ~= 'WAITING' and leg.member or nil
    end
    every_of(called, call.to, 'missed_by', call.ref)
  end
  if not call.keeps_legs then
    cancel_page(call)
  end
  redial.replace(call)
end

local STATE_OF = { timeout = 'DECLINED_BY_TIMEOUT', cancelled = 'DECLINED_BY_CREATOR' }

-- Ends the call when no leg is left, with the best response of all (RFC 3261, 16.7).
local function finish_if_all_over(call)
  if tonumber(call.open) > 0 or not is_pending(call) then
    return
  elseif call.whoAccepted then
    return finish(call, 'ACCEPTED', 200, 'accepted')
  end
  local votes, timed_out = {}, false
  for i, leg in ipairs(legs_in(call, OVER)) do
    local said = leg.reason == 'declined' or leg.reason == 'busy'
    votes[i] = { state = said and 'DECLINED' or 'GONE', endReason = leg.endReason, context = leg.context }
    timed_out = timed_out or leg.reason == 'timeout'
  end
  local code, reason, best = best_response({ candidates = votes })
  if timed_out and tonumber(call.expiresAt) <= now then
    code, reason = 408, 'timeout'
  elseif best then
    note_context(call, best)
  end
  finish(call, STATE_OF[reason] or 'DECLINED', code, reason)
end

-- A leg is over.
local function go_on(call)
  change(call, 'open', int(tonumber(call.open) - 1))
  if call.strategy == 'sequential' and #legs_in(call, OPEN) == 0 then
    start_next(call)
  end
  finish_if_all_over(call)
end

-- The leg has ended in its own shard.
function internal.leg_ended(_, ref, member, code, reason, peer, context)
  local call = load_invite(ref)
  local leg = call and is_pending(call) and leg_of(call, member)
  if leg and leg.state ~= 'OVER' then
    leg.state, leg.reason, leg.endReason = 'OVER', reason, reason == 'cancelled' and 487 or tonumber(code)
    leg.peer = peer ~= '' and peer or nil
    leg.context = context ~= '' and context or nil
    save_legs(call, { leg })
    go_on(call)
  end
end

-- The member is not called: an invite with the ref of its leg exists.
function internal.leg_left_out(_, ref, member)
  local call = load_invite(ref)
  local leg = call and is_pending(call) and leg_of(call, member)
  if leg and leg.state ~= 'OVER' then
    leg.state = 'OVER'
    call.legs[member] = false
    later({ 'HDEL', key('legs', ref), member })
    go_on(call)
  end
end

-- Tells a leg how it has ended: as the group has decided, as it has ended itself (its shard may have lost that), or with
-- its call, which may be forgotten.
local function tell_leg(call, ref, member)
  local name, leg, group = with_callee(ref, member), call and leg_of(call, member), callee_of(ref)
  if leg and leg.endReason == 200 then
    emit(member, 'leg_won', name, leg.peer or naming.NOBODY, leg.device or '', leg.context or '', group)
  elseif leg and leg.reason then
    emit(member, 'leg_cancel', name, STATE_OF[leg.reason] or 'DECLINED', int(leg.endReason), leg.reason, '', '0-0', '',
      group)
  else
    local state, code, reason, who, winner = end_of_legs(call)
    emit(member, 'leg_cancel', name, state, code, reason, who, '0-0', winner, group)
  end
end

-- The numbers of a leg's devices have changed by these amounts.
function internal.leg_counts(_, ref, member, devices, ringing, pushed)
  local call = load_invite(ref)
  if not call or not is_pending(call) then
    if tonumber(devices) > 0 then
      -- The leg has begun after the end of the call.
      tell_leg(call, ref, member)
    end
    return
  end
  local more = { devices = devices, ringingDevices = ringing, pushedDevices = pushed }
  for field, by in pairs(more) do
    if by ~= '0' then
      change(call, field, int(tonumber(call[field] or 0) + tonumber(by)))
    end
  end
  if tonumber(ringing) > 0 then
    kinds.group.progress(call, 'ringing')
  end
  if tonumber(pushed) > 0 then
    kinds.group.progress(call, 'pushed')
  end
end

-- A leg has begun, or has ended at once. When the last one has begun in another shard, the inviter hears how many
-- devices ring.
function internal.leg_began(_, ref)
  local call = load_invite(ref)
  if call and is_pending(call) then
    change(call, 'begun', int(tonumber(call.begun or 0) + 1))
    if shards > 1 and work.relayed and call.begun == call.members then
      tell_progress(call)
    end
    -- All ring that are to ring now.
    if call.others and (call.begun == call.members or (call.strategy == 'sequential' and #legs_in(call, OPEN) > 0)) then
      redial.replace(call)
    end
  end
end

-- A leg asks what has become of the call: its device `peer` accepts ("" when none does). This step alone decides who
-- wins, and no device is answered before. The same question has the same answer whenever it comes.
function internal.leg_asks(_, ref, member, peer, device, context)
  local call = load_invite(ref)
  local leg = call and is_pending(call) and leg_of(call, member)
  local is_open = leg and leg.state ~= 'OVER'
  if is_open and peer == '' then
    return
  elseif is_open then
    leg.peer = peer ~= naming.NOBODY and peer or nil
    leg.device = device ~= '' and device or nil
    leg.context = context ~= '' and context or nil
    if call.strategy == 'all' then
      note_accept(call, leg)
      tell_outcome(call, nil, member, leg.peer, leg.context)
    else
      kinds.group.finish(call, 'ACCEPTED', 200, 'accepted', leg)
    end
  end
  tell_leg(call, ref, member)
  if is_open and is_pending(call) then
    go_on(call)
  end
end

-- The first accept of a member whose join has won without a peer (see call/naming.lua).
function internal.leg_named(_, ref, member, peer)
  local call = load_invite(ref)
  local leg = call and leg_of(call, member)
  if leg and leg.endReason == 200 and not leg.peer then
    leg.peer = peer
    save_legs(call, { leg })
    if call.whoAccepted == member and not call.acceptedBy then
      change(call, 'acceptedBy', peer)
    end
  end
end

-- Tells a page of the ringing legs new context or mediatypes. The legs up to the place `after` have heard it.
local function update_page(call, after)
  local updated = 0
  for _, leg in ipairs(legs_in(call, OPEN)) do
    if leg.at > after then
      if updated == PAGE then
        return proceed(call.to, 'legs_update', call.ref, int(leg.at - 1))
      end
      updated = updated + 1
      emit(leg.member, 'leg_update', with_callee(call.ref, leg.member), call.context or '',
        call.mediatypes or '', call.fromDetails or '', call.to)
    end
  end
end

function kinds.group.update(call)
  update_page(call, 0)
end

function internal.legs_update(_, ref, after)
  local call = load_invite(ref)
  if call and is_pending(call) then
    update_page(call, tonumber(after))
  end
end

-- Sequential: the turn of the ringing leg is over. The leg answers `leg_ended`, and that starts the next one.
function kinds.group.step(call)
  for _, leg in ipairs(legs_in(call, OPEN)) do
    emit(leg.member, 'leg_turn_over', with_callee(call.ref, leg.member), call.ref, last_word(call))
  end
end
