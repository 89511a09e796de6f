-- Glare: while A's call to B rings, B invites A. With `glare: merge` the later invite merges into the earlier one: that
-- one is accepted by the peer that sent the later one. Later means a later entry id, or an equal one and a greater ref.
--
-- An invite lives in its callee's shard, so the two may be in different shards. Then each asks its inviter's shard,
-- which has the other one, before it rings. While it is held nothing else ends it and nobody can accept it, so the
-- shard that is asked decides about both in one step, and the held invite obeys. If both are held, the home of the
-- earlier one decides. Questions are numbered and asked again (a fail-over can lose one); "go" counts only for the last
-- one.
--
-- held         the number of the last question; nil while the invite is not held
-- postponed    how it ends if it may ring: "state code reason"; stops: the stops to answer then (JSON, requests)
-- joined       the peer and the device of the join that has answered it (JSON); it ends by that if it may ring
-- unreachable  the same where nothing can ring; transaction: of the progress
-- rival        the question of the earlier invite that waits for this one's answer (JSON)
-- unrung       true in the step that decides, until the devices ring: none is told to stop; not stored
-- into         the ref of the invite that it has merged into; merged: the ref of the one that has merged into this one
--
-- met:<from>|<to>  the last accepted invite, and the entry of its accept; expires
-- cleared:<ref>    in the inviter's shard: the entry that made the invite, and its last question that was answered with
--                  "go"; expires
-- exports: glare
-- include: core/emit
-- include: core/refs
-- include: call/joining
-- include: call/redial
-- include: call/requests
-- include: call/waking
-- include: call/winning
-- include: out/devices
-- include: out/inviter

glare = {}

local LEASE = 5000 -- ms; see group/legs.lua
local NOW = '0' -- the number of a question that is answered in the same step

-- May the invite meet another one? Requests and their answers, probes, and calls by trunks, cannot.
function glare.is_possible(invite)
  return invite.room and not invite.requestId and not invite.probe and invite.from ~= invite.to
    and not limits.is_trunk(invite.from, invite.caller)
end

-- Byte by byte. The operator compares by the server's locale, and two servers may differ.
local function is_greater(ref, other)
  for i = 1, #ref do
    local a, b = string.byte(ref, i), string.byte(other, i)
    if a ~= b then
      return not b or a > b
    end
  end
  return false
end

local function is_later(entry, ref, other)
  return order.later(entry, other.entry) or (not order.later(other.entry, entry) and is_greater(ref, other.ref))
end

local function may_be_met(other, request)
  if not is_pending(other) or other.kind ~= kinds.direct or other.inviteRequest == '1' or other.requestId
    or other.parallel == 'out' or other.probe or limits.is_trunk(other.from, other.caller)
    or is_of_other_user(other, request.user, request.peer) then
    return false
  end
  local candidate = candidate_of_request(other, request)
  return not candidate or not is_rejected(candidate)
end

-- The earliest pending invite from `from` to `to` that the request's peer may accept.
local function find(from, to, request)
  local found
  for _, other in ipairs(redial.invites_in('pending', from, to)) do
    if may_be_met(other, request) and (not found or is_later(found.entry, found.ref, other)) then
      found = other
    end
  end
  return found
end

-- The last accepted invite, and the entry of its accept.
local function last_accepted(from, to)
  local ref, entry = string.match(redis.call('GET', key('met', from .. '|' .. to)) or '', '^(.+)|([^|]+)$')
  local invite = ref and load_invite(ref)
  if invite and invite.state == 'ACCEPTED' then
    return invite, entry
  end
end

-- An invite that is accepted while it is held has rung nobody, so it has no other candidate.
local function forget_candidates(invite)
  for _, candidate in pairs(invite.held and candidates_of(invite) or {}) do
    later({ 'SREM', key('pending', owner(candidate)), invite.ref })
    remove_candidate(invite, candidate)
  end
end

-- The inviting peer of the other invite has accepted this one.
local function taken_by(invite, other, peer, device)
  forget_candidates(invite)
  change(invite, 'merged', other)
  local request = request_of('accept', peer, invite.to, '', device)
  win(invite, request, candidate_of_request(invite, request))
end

-- The invite has merged into another one, whose inviting peer counts as the one that accepts.
local function merge(invite, into, room, peer, device)
  forget_candidates(invite)
  change(invite, 'into', into)
  invite.new_room = room
  local request = request_of('accept', peer, invite.to, '', device)
  local winner = enlist(invite, candidate_of_request(invite, request), request)
  finish(invite, 'ACCEPTED', 200, 'merged', winner)
end

local function ask(invite)
  emit(invite.from, 'glare_asks', invite.ref, invite.entry, invite.caller, invite.device or '', invite.room, invite.held)
end

local function let_go(invite)
  invite.held = nil
  invite.unrung = true
  later({ 'HDEL', key('invite', invite.ref), 'held' })
end

local function answer_stops(invite)
  for _, request in ipairs(invite.stops and cjson.decode(invite.stops) or {}) do
    answer_stop(request, invite)
  end
end

-- The devices that would ring by now if the invite had not been held.
local function to_ring(invite)
  local found = {}
  for _, candidate in pairs(candidates_of(invite)) do
    if candidate.state == 'CALLED' or candidate.state == 'PUSHING' then
      found[#found + 1] = candidate
    end
  end
  return found
end

local function go(invite)
  local state, code, reason = string.match(invite.postponed or '', '^(%S+) (%d+) (%S+)$')
  if not state and tonumber(invite.expiresAt) <= now then
    state, code, reason = 'DECLINED_BY_TIMEOUT', 408, 'timeout'
  elseif not state and invite.unreachable and invite.kind.count(invite) == 0 then
    state, code, reason = string.match(invite.unreachable, '^(%S+) (%d+) (%S+)$')
    if reason ~= 'busy' then
      warn('no_candidates', invite.to)
    end
  end
  if state == 'ACCEPTED' then
    return joins.accept_postponed(invite)
  elseif state then
    return finish(invite, state, tonumber(code), reason)
  end
  schedule('ring|' .. invite.ref, tonumber(invite.expiresAt))
  local devices = to_ring(invite)
  invite.unrung = nil
  if #devices > 0 then
    ring(invite, devices, false)
    waking.expect_ringing(invite, devices)
  end
  tell_progress(invite, invite.transaction)
end

-- The invite is decided: does everything that waited for this, the question of another invite first.
local function release(invite)
  let_go(invite)
  if invite.rival then
    internal.glare_asks(unpack(cjson.decode(invite.rival)))
  end
  if is_pending(invite) then
    go(invite)
  end
  redial.replace(invite)
  answer_stops(invite)
end

-- Is the answer to this question, or to a later one, "go"? The ref may be that of an earlier invite, which is forgotten.
local function is_cleared(ref, made, number)
  local cleared_made, cleared = string.match(redis.call('GET', key('cleared', ref)) or '', '^(%S+) (%d+)$')
  if not cleared or order.later(made, cleared_made) then
    return false
  end
  return order.later(cleared_made, made) or tonumber(cleared) >= tonumber(number)
end

-- In the inviter's shard: an invite that is held, made by the entry `made`, asks whether it may ring.
function internal.glare_asks(from, ref, made, peer, device, room, number)
  local to = callee_of(ref)
  local function say(verdict, other)
    emit(to, 'glare_said', ref, number, verdict, other and other.ref or '', other and other.room or '',
      other and other.caller or '', other and other.device or '')
  end
  if number ~= NOW and is_cleared(ref, made, number) then
    return
  end
  local accepted, accepted_at = last_accepted(to, from)
  if accepted and accepted.into == ref then
    return say('taken', accepted)
  elseif accepted and accepted.merged == ref then
    return say('merged', accepted)
  end
  local other = find(to, from, request_of('accept', peer, from, '', device))
  if other and is_later(made, ref, other) then
    taken_by(other, ref, peer, device)
    say('merged', other)
    if other.held then
      release(other)
    end
  elseif other and other.held then
    -- Its own question is on its way to the home of this one, which decides, unless it has already said "go".
    change(other, 'rival', json.strings({ from, ref, made, peer, device, room, number }))
  elseif other then
    say('taken', other)
    merge(other, ref, room, peer, device)
  elseif accepted and not accepted.into and order.later(accepted_at, made) then
    -- It was published while the other one rang.
    say('merged', accepted)
  else
    if number ~= NOW then
      remember(key('cleared', ref), made .. ' ' .. number, lifetimes.order())
    end
    say('go')
  end
end

-- The answer to the question `number`.
function internal.glare_said(_, ref, number, verdict, other, room, peer, device)
  local invite = load_invite(ref)
  if not invite or not is_pending(invite) or not invite.held or (verdict == 'go' and number ~= invite.held) then
    return
  elseif verdict == 'merged' then
    merge(invite, other, room, peer, device)
  elseif verdict == 'taken' then
    taken_by(invite, other, peer, device)
  end
  if invite.held ~= NOW then
    release(invite)
  end
end

-- The invite is accepted. Its callee may have sent one the other way meanwhile.
function glare.note_accepted(invite)
  if settings.glare == 'merge' and invite.room then
    remember(key('met', invite.from .. '|' .. invite.to), invite.ref .. '|' .. work.entry, invite.live_until)
    change(invite, 'room', invite.new_room or invite.room)
  end
end

-- Both invites are in this shard: decides now. Returns whether the new invite has merged.
function glare.merges_now(invite)
  invite.held = NOW
  ask(invite)
  invite.held = nil
  return not is_pending(invite)
end

-- Holds the new invite, which rings when its inviter's shard has answered. `found` has the candidates that would ring.
function glare.hold(invite, asked, found)
  change(invite, 'held', '1')
  if #found.candidates == 0 then
    change(invite, 'unreachable', 'DECLINED ' .. int(found.code) .. ' ' .. found.reason)
  end
  if asked.transaction ~= '' then
    change(invite, 'transaction', asked.transaction)
  end
  schedule('ring|' .. invite.ref, now + LEASE)
  ask(invite)
end

-- The answer is late, or lost.
function glare.ask_again(invite)
  if not is_here(invite.from) then
    change(invite, 'held', int(tonumber(invite.held) + 1))
  end
  schedule('ring|' .. invite.ref, now + LEASE)
  ask(invite)
end
