-- Group calls: the group's invite (`to` is the group) and its legs, one invite for each member.
--
-- legs:<ref of the group's invite>, member -> JSON: state WAITING (not called yet), OPEN (rings) or OVER; then endReason
-- and peer (the one that decided); at (its place); push (devices), peers, trunk, phone, failed: what was looked up.
--
-- The group's invite decides: who won, when it is over, what its inviter hears. A leg rings its member's devices and
-- tells the group's invite what became of them. Both sides speak through `emit`, so that they may live in two shards.
-- include: parts/invites
-- include: parts/registry

-- How many legs one commit starts or ends: 20 with three devices each are about 2 ms.
local PAGE = 20

-- A leg outlives the group's deadline a little, so that the group speaks first.
local LEG_SLACK = 2000

local function leg_ref(call, member)
  return call.from .. '|' .. call.inviteId .. '|' .. member
end

local function legs_of(call)
  if not call.legs then
    local name = key('legs', call.ref)
    local flat = redis.call('HGETALL', trust(name))
    call.legs = {}
    for i = 1, #flat, 2 do
      local leg = cjson.decode(flat[i + 1])
      leg.member = flat[i]
      call.legs[flat[i]] = leg
    end
  end
  return call.legs
end

local function leg_json(leg)
  return '{"state":"' .. leg.state .. '","at":' .. leg.at
    .. (leg.endReason and ',"endReason":' .. leg.endReason or '')
    .. (leg.peer and ',"peer":' .. json.quote(leg.peer) or '')
    .. (leg.said and ',"said":true' or '')
    .. (leg.push and ',"push":' .. json.strings(leg.push) or '')
    .. (leg.peers and ',"peers":' .. json.strings(leg.peers) or '')
    .. (leg.trunk and ',"trunk":' .. json.quote(leg.trunk) or '')
    .. (leg.phone and ',"phone":true' or '')
    .. (leg.failed and ',"failed":true' or '') .. '}'
end

local function save_leg(call, leg)
  add('hash', { 'HSET', key('legs', call.ref), leg.member, leg_json(leg) })
end

-- The legs in their order, as many as `limit`, that are in a state.
local function legs_in(call, states, limit)
  local found = {}
  for _, leg in pairs(legs_of(call)) do
    if states[leg.state] then
      found[#found + 1] = leg
    end
  end
  table.sort(found, function(a, b) return a.at < b.at end)
  for i = #found, limit + 1, -1 do
    found[i] = nil
  end
  return found
end

local WAITING, OPEN, UNFINISHED = { WAITING = true }, { OPEN = true }, { WAITING = true, OPEN = true }

local function start_leg(call, leg)
  leg.state = 'OPEN'
  save_leg(call, leg)
  emit(leg.member, 'leg_start', call.ref, call.from, call.inviteId, call.to, call.room or '', call.caller,
    call.mediatypes or '', call.fromDetails or '', call.context or '', call.createdAt, call.expiresAt, call.entry,
    leg_json(leg))
end

-- One after the other: the next one begins when its time has come, or when the one before is over.
local function start_next(call)
  local nexts = legs_in(call, WAITING, 2)
  -- Before the leg starts: if it is over at once, the one after it has its own say about the next step.
  if nexts[2] then
    schedule('step|' .. call.ref, now + settings.ringing_step)
  else
    unschedule('step|' .. call.ref)
  end
  if nexts[1] then
    start_leg(call, nexts[1])
  end
end

-- All at once, a page in each commit.
local function start_page(call)
  for _, leg in ipairs(legs_in(call, WAITING, PAGE)) do
    if is_pending(call) then
      start_leg(call, leg)
    end
  end
  if is_pending(call) and legs_in(call, WAITING, 1)[1] then
    proceed(call.to, 'legs_start', call.ref)
  end
end

function internal.legs_start(_, ref)
  local call = load_invite(ref)
  if call and is_pending(call) then
    start_page(call)
    if is_pending(call) and not legs_in(call, WAITING, 1)[1] then
      tell_progress(call)
    end
  end
end

-- Makes the legs of a new group call. `members` are what was looked up (see parts/resolve.lua), without those who are not
-- to be called.
function group_call.begin(call, members, sequential)
  call.legs = {}
  for at, member in ipairs(members) do
    local leg = {
      member = member.user, state = 'WAITING', at = at, push = member.push, peers = member.peers, trunk = member.trunk,
      phone = member.phone, failed = member.failed,
    }
    call.legs[leg.member] = leg
    save_leg(call, leg)
  end
  change(call, 'open', tostring(#members))
  expire(key('legs', call.ref), tonumber(call.expiresAt) + DAY)
  if sequential then
    change(call, 'strategy', 'sequential')
    start_next(call)
  else
    start_page(call)
  end
end

-- Ends legs that still ring, a page in each commit.
local function cancel_page(call)
  for _, leg in ipairs(legs_in(call, OPEN, PAGE)) do
    leg.state = 'OVER'
    leg.endReason = call.code == '408' and 408 or 487
    save_leg(call, leg)
    emit(leg.member, 'leg_cancel', leg_ref(call, leg.member), call.state, call.code, call.reason, call.whoAccepted or '')
  end
  if legs_in(call, OPEN, 1)[1] then
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
function group_call.results(call)
  local list = {}
  for i, leg in ipairs(legs_in(call, { WAITING = true, OPEN = true, OVER = true }, math.huge)) do
    list[i] = '{"address":' .. json.quote(leg.member)
      .. ',"peer":' .. json.text(leg.peer)
      .. ',"endReason":' .. (leg.endReason or call.code == '408' and 408 or 487) .. '}'
  end
  return list
end

-- Ends the group call; `winner` is the leg that won.
function group_call.finish(call, state, code, reason, winner)
  set_end(call, state, code, reason)
  expire(key('legs', call.ref), call.live_until)
  if winner then
    change(call, 'whoAccepted', winner.member)
    change(call, 'acceptedBy', winner.peer)
    winner.state, winner.endReason = 'OVER', 200
    save_leg(call, winner)
    info('accepted', call.inviteId, call.room or 'undefined', winner.member)
  end
  unschedule('step|' .. call.ref)
  unindex(call)
  tell_outcome(call)
  record(call)
  cancel_page(call)
end

-- The best response of all legs (RFC 3261, 16.7).
local function finish_if_all_over(call)
  if tonumber(call.open) > 0 or not is_pending(call) then
    return
  end
  local votes = { ref = call.ref, candidates = {} }
  for member, leg in pairs(legs_of(call)) do
    votes.candidates[member] = { state = leg.said and 'DECLINED' or 'GONE', endReason = leg.endReason }
  end
  local code, reason = best_response(votes)
  if tonumber(call.expiresAt) <= now or code == 408 then
    finish(call, 'DECLINED_BY_TIMEOUT', 408, 'timeout')
  else
    finish(call, 'DECLINED', code, reason)
  end
end

local function leg_over(call, leg, code, peer, said)
  leg.state, leg.endReason = 'OVER', code
  leg.peer = peer ~= '' and peer or nil
  leg.said = said
  save_leg(call, leg)
  change(call, 'open', tostring(tonumber(call.open) - 1))
end

-- In the group's shard: a leg is over by itself.
function internal.leg_ended(_, ref, member, _, code, reason, peer)
  local call = load_invite(ref)
  local leg = call and legs_of(call)[member]
  if not leg or leg.state == 'OVER' or not is_pending(call) then
    return
  end
  leg_over(call, leg, tonumber(code), peer, reason == 'declined' or reason == 'busy')
  if call.strategy == 'sequential' and not legs_in(call, OPEN, 1)[1] then
    start_next(call)
  end
  finish_if_all_over(call)
end

-- In the group's shard: the member is not called, because there is an invite of that ref already.
function internal.leg_left_out(_, ref, member)
  local call = load_invite(ref)
  local leg = call and legs_of(call)[member]
  if leg and leg.state ~= 'OVER' and is_pending(call) then
    leg_over(call, leg, 487, '', false)
    finish_if_all_over(call)
  end
end

-- In the group's shard: what the legs' devices do, for the inviter's progress.
function internal.leg_rings(_, ref, devices)
  local call = load_invite(ref)
  if call and is_pending(call) then
    change(call, 'devices', tostring(tonumber(call.devices or 0) + tonumber(devices)))
  end
end

function internal.leg_progress(_, ref, what)
  local call = load_invite(ref)
  if call and is_pending(call) then
    local first = not call[what]
    change(call, what, tostring(tonumber(call[what] or 0) + 1))
    if first and (what == 'ringing' or not call.ringing) then
      tell_progress(call)
    end
  end
end

-- In the group's shard: a member's device accepts. This one step decides who won; nobody is answered before.
function internal.leg_accepts(_, ref, member, peer, user, transaction)
  local call = load_invite(ref)
  local leg = call and legs_of(call)[member]
  if call and leg and is_pending(call) then
    leg.peer = peer
    group_call.finish(call, 'ACCEPTED', 200, 'accepted', leg)
    emit(member, 'leg_won', leg_ref(call, member), peer, user, transaction)
  else
    emit(member, 'leg_lost', call and leg_ref(call, member) or ref, peer, user, transaction,
      call and call.state or 'DECLINED', call and call.code or '480', call and call.reason or 'unreachable',
      call and call.whoAccepted or '')
  end
end

-- In the member's shard: rings the member's devices.
function internal.leg_start(
  member, group_invite, from, invite_id, group, room, caller, mediatypes, from_details, context, created_at, expires_at,
  entry, raw)
  local looked_up = cjson.decode(raw)
  local ref = from .. '|' .. invite_id .. '|' .. member
  local stopped = redis.call('EXISTS', key('stopped', ref), key('stopped', '|' .. invite_id .. '|' .. member))
  if load_invite(ref) or stopped > 0 then
    return emit(group, 'leg_left_out', group_invite, member)
  end
  local leg = new_invite({
    ref = ref, user = from, to = member, invite_id = invite_id, peer = caller, asks = '0', room = room,
    mediatypes = mediatypes, fromDetails = from_details, context = context, requestId = '',
  }, created_at, expires_at, entry)
  change(leg, 'group', group)
  local candidates = {}
  for id, found in pairs(registry_of(member)) do
    if id ~= caller then
      candidates[#candidates + 1] = peer_candidate(id, member, found)
    end
  end
  add_peers_elsewhere(candidates, member, looked_up.peers, caller)
  add_push_candidates(candidates, member, looked_up.push)
  if looked_up.trunk and (looked_up.phone or (#candidates == 0 and may_be_number(looked_up))) then
    candidates[#candidates + 1] = trunk_candidate(looked_up.trunk, member)
  end
  leg.live_until = tonumber(expires_at) + DAY
  for _, candidate in ipairs(candidates) do
    add_candidate(leg, candidate)
  end
  if #candidates == 0 then
    warn('no_candidates', member)
    if looked_up.failed then
      return finish(leg, 'DECLINED', 500, 'internal')
    end
    return finish(leg, 'DECLINED', 480, 'unreachable')
  end
  index_owners(leg, candidates)
  schedule('ring|' .. ref, tonumber(expires_at) + LEG_SLACK)
  ring(leg, candidates, false)
  emit(group, 'leg_rings', group_invite, tostring(#candidates))
end

-- New context or mediatypes for the legs that ring, a page in each commit, in their order.
local function update_page(call, after)
  local updated = 0
  for _, leg in ipairs(legs_in(call, OPEN, math.huge)) do
    if leg.at > after then
      if updated == PAGE then
        return proceed(call.to, 'legs_update', call.ref, tostring(leg.at - 1))
      end
      updated = updated + 1
      emit(leg.member, 'leg_update', leg_ref(call, leg.member), call.context or '', call.mediatypes or '',
        call.fromDetails or '')
    end
  end
end

function group_call.update(call)
  update_page(call, 0)
end

function internal.legs_update(_, ref, after)
  local call = load_invite(ref)
  if call and is_pending(call) then
    update_page(call, tonumber(after))
  end
end

function internal.leg_update(_, ref, context, mediatypes, from_details)
  local leg = load_invite(ref)
  if leg and is_pending(leg) then
    change(leg, 'context', context)
    change(leg, 'mediatypes', mediatypes)
    change(leg, 'fromDetails', from_details)
    ring_again(leg)
  end
end

-- In the member's shard: the group call is over, or its turn is.
function internal.leg_cancel(_, ref, state, code, reason, who)
  local leg = load_invite(ref)
  if leg and is_pending(leg) then
    if who ~= '' then
      change(leg, 'whoAccepted', who)
    end
    finish(leg, state, tonumber(code), reason)
  end
end

-- One after the other: the turn of the one that rings is over.
function group_call.step(call)
  for _, leg in ipairs(legs_in(call, OPEN, 1)) do
    -- Its leg answers with leg_ended, which lets the next one begin.
    emit(leg.member, 'leg_cancel', leg_ref(call, leg.member), 'DECLINED_BY_TIMEOUT', '408', 'timeout', '')
  end
end
