-- The group's side of a group call: who is called when, and how the call ends. The group's invite (`to` is the group) decides who
-- wins and what the inviter hears. Each member has a leg, an invite of its own (see group/legs.lua), perhaps in another
-- shard. group/roster.lua keeps their states, group/from_legs.lua has what they say.
--
-- The group's invite also has the fields
--   strategy   "sequential"; "all": each member may accept; or none: all legs ring at once, and one member wins
--   legsState, legsCode, legsReason
--              strategy "all": how the legs have ended that still rang when an accepted call was over
--   members    the number of legs; called: of those whose turn has come; begun: of those whose shard has said anything; open:
--              of those that are WAITING or RINGING
--   devices    the number of devices of all legs; ringingDevices, pushedDevices: of those that ring, that have a push
-- include: core/emit
-- include: core/refs
-- include: call/direct
-- include: call/redial
-- include: call/pages
-- include: group/roster
-- include: out/ended_call

local roster = kinds.group.roster

kinds.group.progress = kinds.direct.progress
kinds.group.repeated = kinds.direct.repeated

function kinds.group.count(call)
  return tonumber(call.devices or 0), tonumber(call.ringingDevices or 0), tonumber(call.pushedDevices or 0)
end

local function start_leg(call, leg)
  roster.set_state(call, leg, 'RINGING')
  emit(leg.member, 'leg_start', call.ref, call.to, call.from, call.inviteId, call.room or '', call.caller,
    call.inviteRequest, call.mediatypes or '', call.fromDetails or '', call.context or '', call.createdAt,
    call.expiresAt, last_word(call), roster.json(leg), call.replaces)
end

local function is_too_late(call)
  return tonumber(call.expiresAt) <= now
end

-- All members of the page have had their turn, or have it now.
local function call_all(call, page)
  change(call, 'called', int(roster.last_of(call, page)))
end

local function turn_page(call)
  if is_pending(call) and tonumber(call.called) < tonumber(call.members) then
    proceed(call.to, 'legs_start', call.ref, call.called)
  end
end

-- Sequential: the turn of the next member, on this page or a later one. A leg that ends while it starts calls this again.
local function start_next(call, page)
  for _, leg in ipairs(roster.page(call, page)) do
    if leg.state == 'WAITING' then
      change(call, 'called', int(leg.at))
      if leg.at < tonumber(call.members) then
        schedule('step|' .. call.ref, now + settings.ringing_step)
      else
        unschedule('step|' .. call.ref)
      end
      return start_leg(call, leg)
    end
  end
  call_all(call, page)
  turn_page(call)
end

-- All at once: starts the legs of a page.
local function start_page(call, page)
  call_all(call, page)
  for _, leg in ipairs(roster.page(call, page)) do
    if leg.state == 'WAITING' and is_pending(call) then -- a member may have joined the room meanwhile
      start_leg(call, leg)
    end
  end
  turn_page(call)
end

-- Makes the legs of a new group call and starts them.
function kinds.group.begin(call, members, strategy)
  roster.make(call, members)
  change(call, 'open', call.members)
  if strategy == 'sequential' or strategy == 'all' then
    change(call, 'strategy', strategy)
  end
  local start = strategy == 'sequential' and start_next or start_page
  start(call, 1)
end

-- Starts legs of the next page: those up to the place `after` are done. The message may come twice; an older release
-- names no place.
function internal.legs_start(_, ref, after)
  local call = load_invite(ref)
  if not call or not is_pending(call) or is_too_late(call) then
    return
  end
  local called = roster.called(call)
  local next_page = roster.page_of(called + 1)
  if called >= tonumber(call.members) or (after and tonumber(after) ~= called) then
    return
  elseif call.strategy ~= 'sequential' then
    start_page(call, next_page)
    if is_pending(call) and call.called == call.members then
      report_changes()
      tell_progress(call)
    end
  else
    local current = roster.current(call)
    if not current or current.state ~= 'RINGING' then
      start_next(call, next_page)
    end
  end
end

-- How the legs end that still ring when the call is over: state, code, reason, the member that has accepted and its
-- peer ("" for none). `call` is nil when it is forgotten.
function kinds.group.end_of_legs(call)
  if not call or is_pending(call) then
    return 'DECLINED_BY_CREATOR', '487', 'cancelled', '', ''
  elseif call.legsState then
    return call.legsState, call.legsCode, call.legsReason, '', ''
  end
  return call.state, call.code, call.reason, call.whoAccepted or '', call.acceptedBy or ''
end

-- Ends the legs of a page that still ring.
local function cancel_page(call, page)
  local state, code, reason, who, winner = kinds.group.end_of_legs(call)
  for _, leg in ipairs(roster.page(call, page)) do
    if leg.state == 'RINGING' then
      roster.set_state(call, leg, 'OVER', code == '408' and 408 or 487)
      emit(leg.member, 'leg_cancel', with_callee(call.ref, leg.member), state, code, reason, who, last_word(call), winner,
        call.to)
    end
  end
end

-- The page of the first leg behind the place `after` (nil: of the first one that may ring); nil when there is none.
local function page_after(call, after)
  local called = roster.called(call)
  after = tonumber(after) or (call.strategy == 'sequential' and called - 1 or 0)
  return after < called and roster.page_of(after + 1) or nil
end

-- Ends the legs of an ended call, a page in each commit: those up to the place `after` are done.
function internal.legs_cancel(_, ref, after)
  local call = load_invite(ref)
  local page = call and call.members and not is_pending(call) and page_after(call, after)
  if page then
    cancel_page(call, page)
    if page_after(call, roster.last_of(call, page)) then
      proceed(call.to, 'legs_cancel', ref, int(roster.last_of(call, page)))
    end
  end
end

-- Tells the legs new context or mediatypes, in the same way.
function internal.legs_update(_, ref, after)
  local call = load_invite(ref)
  local page = call and is_pending(call) and page_after(call, after)
  if page then
    for _, leg in ipairs(roster.page(call, page)) do
      if leg.state == 'RINGING' then
        emit(leg.member, 'leg_update', with_callee(ref, leg.member), call.context or '', call.mediatypes or '',
          call.fromDetails or '', call.to)
      end
    end
    if page_after(call, roster.last_of(call, page)) then
      proceed(call.to, 'legs_update', ref, int(roster.last_of(call, page)))
    end
  end
end

function kinds.group.update(call)
  internal.legs_update(call.to, call.ref)
end

-- The members for the record, in their order.
function kinds.group.results(call)
  local list = {}
  local _, code = kinds.group.end_of_legs(call)
  for i, leg in ipairs(roster.all(call)) do
    list[i] = '{"address":' .. json.quote(leg.member)
      .. ',"peer":' .. json.text(leg.peer)
      .. ',"endReason":' .. int(leg.endReason or code == '408' and 408 or 487)
      .. end_with(leg.context)
  end
  return list
end

-- Tells the members that they have missed the call, unless they have answered it (see out/ended_call.lua).
function pages.missed_by(_, members, ref)
  local call = load_invite(ref)
  for _, member in ipairs(call and members or {}) do
    local leg = roster.of(call, member)
    local _, code, reason = kinds.group.end_of_legs(call)
    if leg and (leg.reason or leg.endReason == 200) then
      code, reason = int(leg.endReason), leg.reason
    end
    if leg and ended_call.is_missed(code, reason) then
      emit(member, 'call_missed', with_callee(ref, member), call.to, call.room or '', call.fromDetails or '',
        call.inviteRequest, code, reason, call.createdAt)
    end
  end
end

-- The member has accepted. It will invite the peer that asks by an inviteRequest, and name this request.
function kinds.group.note_accept(call, leg)
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

-- `winner` is the winning leg.
function kinds.group.finish(call, state, code, reason, winner)
  local was_accepted, keeps_legs = call.whoAccepted, reason == redial.REPLACED
  if was_accepted then
    change(call, 'legsState', state)
    change(call, 'legsCode', int(code))
    change(call, 'legsReason', reason)
    state, code, reason = 'ACCEPTED', 200, 'accepted'
  end
  set_end(call, state, code, reason)
  if winner then
    kinds.group.note_accept(call, winner)
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
    -- One member has taken the call for all, or each is called for itself.
    local called = {}
    for _, leg in ipairs(roster.all(call)) do
      called[#called + 1] = leg.state ~= 'WAITING' and leg.member or nil
    end
    every_of(called, call.to, 'missed_by', call.ref)
  end
  if not keeps_legs then -- (See call/redial.lua.)
    internal.legs_cancel(call.to, call.ref)
  end
  redial.replace(call)
end

-- The state of a call, or of a leg, that has ended itself for the reason; DECLINED for any other.
kinds.group.STATE_OF = { timeout = 'DECLINED_BY_TIMEOUT', cancelled = 'DECLINED_BY_CREATOR' }

-- Ends the call when no leg is left, with the best response of all (RFC 3261, 16.7).
local function finish_if_all_over(call)
  if tonumber(call.open) > 0 or not is_pending(call) then
    return
  elseif call.whoAccepted then
    return finish(call, 'ACCEPTED', 200, 'accepted')
  end
  local votes, timed_out = {}, false
  for i, leg in ipairs(roster.all(call)) do
    local said = leg.reason == 'declined' or leg.reason == 'busy'
    votes[i] = { state = said and 'DECLINED' or 'GONE', endReason = leg.endReason, context = leg.context }
    timed_out = timed_out or leg.reason == 'timeout'
  end
  local code, reason, best = best_response({ candidates = votes })
  if timed_out and is_too_late(call) then
    code, reason = 408, 'timeout'
  elseif best then
    note_context(call, best)
  end
  finish(call, kinds.group.STATE_OF[reason] or 'DECLINED', code, reason)
end

-- A leg of a pending call no longer waits or rings.
function kinds.group.leg_is_out(call, leg)
  change(call, 'open', int(tonumber(call.open) - 1))
  local called = roster.called(call)
  if call.strategy == 'sequential' and leg.at == called and not is_too_late(call) then
    start_next(call, roster.page_of(called))
  end
  finish_if_all_over(call)
end

-- Sequential: the turn of the ringing leg is over. The leg answers `leg_ended`, and that starts the next one.
function kinds.group.step(call)
  local leg = roster.current(call)
  if leg and leg.state == 'RINGING' then
    emit(leg.member, 'leg_turn_over', with_callee(call.ref, leg.member), call.ref, last_word(call))
  end
end
