-- invite, inviteRequest: makes the invite and its candidates, rings them, tells the inviter. The same ref again
-- updates the invite, or repeats its outcome.
--
-- Arguments  room, mediatypes, from_details, context, expires, request_id ("" where none is given); invite_request ("1"
--            or "0"); then arguments that few invites have ("" for none; nil with all that follow)
--            from other shards: closed, left (the entry that closed the room, the entry by which the inviter has
--            left it, or ""), member (the callee's value in the room, or ""), requester (the peer that has asked for
--            this invite and until when; "" when the worker has not asked, "|" when there is none)
--            from lookups: trunks_version, trunks (a list, see reach/trunks.lua), lookup_result (see reach/resolve.lua)
--            replaces (a ref), ring_mode, stopped (the code of a stop that follows in this commit, before any answer
--            of the callee), probe ("1" for a call that tests the service), device
-- Reads      the invite, tombstones, the callee's registrations, the version of the trunks
-- Why atomic an invite sees a concurrent registration, or that registration sees the invite
-- include: call/busy
-- include: call/callers
-- include: call/ending
-- include: call/glare
-- include: call/joining
-- include: call/limits
-- include: call/redial
-- include: call/trunk_failure
-- include: call/waking
-- include: out/inviter
-- include: out/ended_call
-- include: reach/resolve

local STATE, MARKS = 6, 6

-- Is the invite new, have caller and callee no other calls, has the room neither members nor invites, and has nobody
-- called again lately? For most invites one EXISTS shows it: none of these keys exists. Then there are no marks, and the
-- first keys need no check of their types. Otherwise `asked.marks` has the values of the marks.
local function is_first(asked)
  local base, room, user, to = base, asked.room, asked.user, asked.to -- (`key` for each would cost twice as much.)
  local names = {
    base .. 'invite:' .. asked.ref, base .. 'pending:' .. to, base .. 'calls:' .. user,
    base .. 'room-invites:' .. room, base .. 'room-members:' .. room, limits.redials(),
    base .. 'stopped:' .. asked.ref, base .. 'stopped:|' .. asked.invite_id .. '|' .. to, base .. 'closed:' .. room,
    base .. 'left:' .. room .. '|' .. user, base .. 'user-state:' .. to, base .. 'gone:' .. user .. '|' .. asked.peer,
  }
  local count = redis.call('EXISTS', unpack(names))
  if count == 0 then
    work.absent = names[STATE + MARKS]
  else
    asked.marks = redis.call('MGET', unpack(names, STATE + 1))
    for i = 1, MARKS do
      count = count - (asked.marks[i] and 1 or 0)
    end
  end
  if count > 0 then
    return false
  end
  unit.trust_first(names, STATE)
  return true
end

local NONE = {}

-- Returns state, code and reason of an invite that is over before it begins.
local function born_ended(asked, invite)
  local stopped, stopped_by_service, closed, left = unpack(asked.marks or NONE, 1, 4)
  if asked.room == '' or not is_here(asked.room) then
    closed, left = asked.closed, asked.left
  end
  local reason = room_over(closed, left, work.entry)
  local stop = stopped or stopped_by_service or asked.stopped
  if invite.overtaken or stopped == redial.REPLACED then
    return 'DECLINED_BY_CREATOR', 487, 'replaced'
  elseif stop then
    return 'DECLINED_BY_CREATOR', tonumber(stop), 'cancelled'
  elseif reason then
    return 'DECLINED_BY_CREATOR', 487, reason
  elseif numbers[invite.expiresAt] <= now then
    return 'DECLINED_BY_TIMEOUT', 408, 'timeout'
  end
end

-- Ends an invite that never rings. The inviter is notified, and it has a record.
local function end_at_once(invite, state, code, reason)
  set_end(invite, state, code, reason)
  tell_outcome(invite)
  record(invite)
  ended_call.note(invite)
end

-- The device continues its calls as this peer, also the new one if it comes back under another peer id.
local function note_device(invite, asked)
  if asked.device and is_pending(invite) then
    emit(asked.user, 'device_calls', invite.ref, asked.peer, asked.device)
  elseif asked.device then
    emit(asked.user, 'device_speaks', asked.peer, asked.device, invite.ref)
  end
end

-- Sets the deadline of an invite that rings, and adds it to its inviter's calls and to its room.
local function enter(invite, asked)
  invite.live_until = lifetimes.pending(invite)
  schedule('ring|' .. invite.ref, invite.expiresAt)
  note_request(invite)
  emit(asked.user, 'call_started', invite.ref, asked.peer, asks_until(invite), invite.entry,
    invite.others and json.strings(invite.others))
  note_device(invite, asked)
  if asked.room ~= '' then
    emit(asked.room, 'room_entered', invite.ref, invite.createdAt, asked.user, invite.entry)
  end
end

-- With `held` its inviter's shard is asked before they ring.
local function call_devices(invite, asked, found, held)
  if verbosity > 1 then
    local list = {}
    for i, candidate in ipairs(found.candidates) do
      list[i] = candidate_for_log(candidate)
    end
    debug('got_candidates', '[' .. table.concat(list, ',') .. ']', invite.inviteId)
  end
  if found.how == 'alone' then
    change(invite, 'alone', 'requester')
  elseif found.how == 'out' then
    change(invite, 'parallel', 'out')
    add('set', { 'SADD', key('parallel', invite.to), invite.ref })
    keep_index(key('parallel', invite.to))
  end
  for i = 1, #found.candidates do
    add_candidate(invite, found.candidates[i])
  end
  trunk_failure.prepare(invite, found.other_trunks)
  index_owners(invite, found.candidates)
  enter(invite, asked)
  if held then
    return glare.hold(invite, asked, found)
  end
  ring(invite, found.candidates, false)
  waking.expect_ringing(invite, found.candidates)
  tell_progress(invite, asked.transaction)
end

local function call_group(invite, asked, found)
  if verbosity > 1 then
    local users = {}
    for i, member in ipairs(found.members) do
      users[i] = member.user
    end
    debug('got_candidates', json.strings(users), invite.inviteId)
  end
  set_group(invite, invite.to)
  index_pending(invite.to, invite.ref)
  enter(invite, asked)
  kinds.group.begin(invite, found.members, asked.ring_mode or (found.sequential and 'sequential'))
  if is_pending(invite) then
    report_changes()
    tell_progress(invite, asked.transaction)
  end
end

-- The callee is in the room, and has answered by joining it. Nothing rings.
local function end_by_join(invite, join)
  info('accepted', invite.inviteId, invite.room, invite.to)
  change(invite, 'whoAccepted', invite.to)
  if join.peer then
    local candidate = registry.candidate(join.peer, invite.to, {
      device = join.device or registry.device(invite.to, join.peer),
    })
    add_candidate(invite, candidate)
    set_state(invite, candidate, 'ACCEPTED', 200)
    change(invite, 'acceptedBy', join.peer)
  end
  end_at_once(invite, 'ACCEPTED', 200, 'accepted')
  glare.note_accepted(invite)
  busy.accepted(invite)
end

-- The limit that the invite would break, or nil.
local function limit_of(asked, invite)
  return limits.of_callee(asked.user, asked.peer, asked.to, invite.leaving or 0)
    or (is_here(asked.user) and limits.of_caller(asked.user, asked.peer, invite.others and json.strings(invite.others)))
end

-- Rings the devices; in another call of the callee only those that busy.choose leaves.
local function call_devices_unless_busy(invite, asked, found, held)
  if found.how ~= 'alone' and #found.candidates > 0 then
    found.candidates = busy.choose(invite, found.candidates, found.how == 'out')
    if #found.candidates == 0 then
      if not held then
        return end_at_once(invite, 'DECLINED', 486, 'busy')
      end
      -- No device that registers meanwhile may ring. The phone network does not have the call.
      change(invite, 'alone', 'nobody')
      found.how, found.code, found.reason = nil, 486, 'busy'
    end
  end
  call_devices(invite, asked, found, held)
end

-- Ends the new invite, or rings it. With `may_have_joined` the callee may be in the room.
local function begin(invite, asked, may_be_limited, may_have_joined)
  local state, code, reason = born_ended(asked, invite)
  if state then
    return end_at_once(invite, state, code, reason)
  end
  local join = may_have_joined and joins.answered_before(invite, asked.member)
  if join then
    return end_by_join(invite, join)
  end
  local limit = may_be_limited and limit_of(asked, invite)
  if limit then
    warn('invite_refused', limit, asked.user, asked.to)
    invite.others = nil
    return end_at_once(invite, 'DECLINED', 403, 'too_many')
  end
  local meets = settings.glare == 'merge' and glare.is_possible(invite)
  local held = meets and not is_here(asked.user)
  if meets and not held and not callees.is_group(asked) and glare.merges_now(invite) then
    return
  end
  local found = callees.resolve(asked)
  if found.members then
    call_group(invite, asked, found)
  elseif #found.candidates > 0 or (held and not found.is_group) then
    call_devices_unless_busy(invite, asked, found, held)
  else
    if found.is_group then
      set_group(invite, invite.to)
    end
    if not found.is_refused then
      warn('no_candidates', asked.to)
    end
    end_at_once(invite, 'DECLINED', found.code, found.reason)
  end
end

-- `first`: see is_first.
local function create(asked, first)
  local started = math.min(order.time(work.entry), now)
  local rings = math.min(tonumber(asked.expires) or settings.ring_timeout, settings.max_ring_timeout)
  local invite = new_invite(asked, int(started), int(started + rings), work.entry)
  local crowded = not first or settings.parallel_sip
  if asked.device then
    change(invite, 'device', asked.device)
  end
  if asked.probe then
    change(invite, 'probe', asked.probe)
  end
  if crowded or asked.replaces then
    redial.choose(invite, asked)
  end
  begin(invite, asked, crowded, not (first and is_here(asked.room)))
  if not is_pending(invite) then
    note_device(invite, asked)
  end
  if invite.others then
    redial.replace_when_begun(invite)
  end
end

local function given(value)
  return value ~= '' and value or nil
end

-- The ref is that of a member's leg in a group call.
local function refuse(asked)
  notify('inviteRejected', '[' .. quoted[asked.peer] .. ']', '[' .. quoted[asked.user] .. ']',
    asked.head .. ',"code":400,"reason":"invalid"}')
end

-- The same ref again while the invite is pending.
local function update(invite, asked)
  if order.later(work.entry, last_word(invite)) then
    change(invite, 'updated', work.entry)
    invite.kind.repeated(invite, asked.peer)
    if invite.device or asked.device then
      change(invite, 'device', asked.device or '')
    end
    note_device(invite, asked)
    local news = false
    for _, field in ipairs({ 'context', 'mediatypes', 'fromDetails' }) do
      if asked[field] ~= '' and asked[field] ~= invite[field] then
        change(invite, field, asked[field])
        news = news or field ~= 'fromDetails'
      end
    end
    if news then
      invite.kind.update(invite)
    end
  end
  tell_progress(invite, asked.transaction, asked)
end

-- Few invites have any of these.
local function add_rare(
  asked, closed, left, member, requester, trunks_version, trunks, lookup_result, replaces, ring_mode, stopped, probe, device)
  asked.closed, asked.left, asked.member = given(closed), given(left), given(member)
  asked.requester, asked.trunks_version, asked.trunks = given(requester), trunks_version, trunks or ''
  asked.found = given(lookup_result) and cjson.decode(lookup_result)
  asked.replaces, asked.ring_mode, asked.stopped = given(replaces), given(ring_mode), given(stopped)
  asked.probe, asked.device = given(probe), given(device)
end

function events.invite(
  peer, user, to, invite_id, head, room, mediatypes, from_details, context, expires, request_id, transaction,
  invite_request, closed, left, member, requester, trunks_version, trunks, lookup_result, replaces, ring_mode, stopped,
  probe, device)
  local asked = {
    ref = user .. '|' .. invite_id .. '|' .. to, peer = peer, user = user, to = to, invite_id = invite_id,
    head = head, room = room, mediatypes = mediatypes, fromDetails = from_details, context = context,
    expires = expires, requestId = request_id, transaction = transaction, invite_request = invite_request, marks = nil,
  }
  if closed then
    add_rare(asked, closed, left, member, requester, trunks_version, trunks, lookup_result, replaces, ring_mode, stopped,
      probe, device)
  end
  local first = is_first(asked)
  local invite = not first and load_invite(asked.ref)
  if not invite then
    create(asked, first)
  elseif is_leg(invite) then
    refuse(asked)
  elseif is_pending(invite) then
    update(invite, asked)
  else
    tell_outcome(invite, asked)
  end
end
