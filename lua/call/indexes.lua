-- The indexes of invites. Each may be in another shard than the invite.
--
-- pending:<user>       the pending invites that ring the user; parallel:<user>: those that the phone network has
-- ended:<user>         the lately ended invites whose devices may still ring
-- calls:<user>         the calls that the user has made: ref -> peer|entry, or peer|entry|heard (see `read_call`)
-- request:<ref>        the peer that asks for an invite, or "|code|reason" when the request has ended so that none may
--                      come
-- room-invites:<room>  the pending invites into the room
-- exports: keep_index, index_pending, index_owners, unindex, unlist, call_of, some_calls, move_call, room_over
-- include: core/emit
-- include: core/refs
-- include: reach/presence
-- include: call/invites
-- include: call/limits
-- include: call/losses

local NONE = {}

-- An index outlives its last invite by a day, even if nothing cleans it.
function keep_index(name)
  expire(name, lifetimes.index())
end

function index_pending(user, ref)
  local name = key('pending', user)
  add('set', { 'SADD', name, ref })
  keep_index(name)
end

-- Indexes the invite by its callee and by the users of the trunks among its candidates.
function index_owners(invite, candidates)
  local callee, others = invite.to, nil
  if is_hidden(invite) then
    callee, others = nil, {}
  else
    index_pending(callee, invite.ref)
  end
  for i = 1, #candidates do
    local user = owner(candidates[i])
    if user ~= callee then
      others = others or {}
      others[user] = true
    end
  end
  for user in pairs(others or NONE) do
    index_pending(user, invite.ref)
  end
end

-- One end in this many, by chance, removes old refs from `ended`.
local CLEANED = 8

-- May one of the user's devices still ring? A device that comes back late finds the invite in `ended`.
local function unindex_owner(user, ref, late)
  later({ 'SREM', key('pending', user), ref })
  if late then
    local ended, kept = key('ended', user), lifetimes.ended_index()
    if now % CLEANED == 0 then
      later({ 'ZREMRANGEBYSCORE', ended, '-inf', now - kept })
    end
    add('zset', { 'ZADD', ended, now, ref })
    expire(ended, now + kept)
  end
end

-- Removes the invite from the indexes of its callee and of the users of trunks.
function unindex(invite)
  local callee, late, others = invite.to, false, nil
  for _, candidate in pairs(candidates_of(invite)) do
    local user, may_ring = candidate.user or candidate.address, LATE[candidate.state] or false
    if user == callee then
      late = late or may_ring
    else
      others = others or {}
      others[user] = others[user] or may_ring
    end
  end
  unindex_owner(callee, invite.ref, late)
  for user, may_ring in pairs(others or NONE) do
    unindex_owner(user, invite.ref, may_ring)
  end
  if invite.parallel then
    later({ 'SREM', key('parallel', invite.to), invite.ref })
  end
  unschedule('ring|' .. invite.ref)
end

-- For a request that ended for one of these reasons: the end of an invite that answers it.
local REFUSALS = { caller_gone = '|480|unreachable', cancelled = '|410|cancelled', replaced = '|410|cancelled', declined = '|403|forbidden' }

-- Removes the invite from its inviter's calls and from its room.
function unlist(invite)
  local refusal = invite.inviteRequest == '1' and REFUSALS[invite.reason] or ''
  if refusal ~= '' and invite.asksUntil then
    change(invite, 'refusal', refusal)
  end
  emit(invite.from, 'call_ended', invite.ref, invite.entry, last_word(invite), refusal)
  if invite.room then
    emit(invite.room, 'room_freed', invite.ref, invite.entry)
  end
end

-- `peer` is notified of the call. `entry` is that of the inviter's last invite with its ref. The clock of the callee's
-- shard has made it. `heard` is since when it is this peer's, in the order of this shard: the present time, if the entry
-- was ahead of it; the event by which the device had this peer id, if that is later.
local function read_call(value)
  local peer, entry, heard = string.match(value, '^([^|]+)|([^|]+)|?(.*)$')
  return { peer = peer, entry = entry, heard = heard ~= '' and heard or entry }
end

local function write_call(from, ref, peer, entry, heard)
  add('hash', { 'HSET', key('calls', from), ref, peer .. '|' .. entry .. (heard == entry and '' or '|' .. heard) })
end

-- In the inviter's shard: the call with this ref, or nil.
function call_of(user, ref)
  local value = redis.call('HGET', key('calls', user), ref)
  return value and read_call(value)
end

-- Those of the refs that are calls of the user. (The index does not show those that have ended in this event.)
function some_calls(user, refs)
  local values = #refs > 0 and redis.call('HMGET', key('calls', user), unpack(refs)) or {}
  local calls = {}
  for i, ref in ipairs(refs) do
    local invite = work.invites[ref]
    calls[ref] = values[i] and (not invite or is_pending(invite)) and read_call(values[i]) or nil
  end
  return calls
end

-- An entry of another shard, in the order of this one: what has arrived here is not from the future.
local function at_most_now(entry)
  return order.split(entry) > now and int(now) .. '-0' or entry
end

-- The caller's device is back under another peer id, since that entry. From now on that peer is notified of the call.
function move_call(from, ref, peer, call, since)
  local heard = order.latest(call.heard, work.relayed and at_most_now(since) or since)
  write_call(from, ref, peer, call.entry, heard)
  later({ 'SET', key('request', ref), peer, 'XX', 'KEEPTTL' })
  emit(callee_of(ref), 'caller_moved', ref, peer, call.entry, heard)
end

-- `asks_until` is until when an invite may name this inviteRequest, or ""; `made` is the entry that made the invite;
-- `leaving` lists the refs of the calls that it replaces (JSON), or is nil.
function internal.call_started(from, ref, peer, asks_until, made, leaving)
  if work.relayed then
    local known = call_of(from, ref)
    if is_over(ref, made) or order.later(known and known.entry, work.entry) then
      return
    end
    local limit = not known and limits.of_caller(from, peer, leaving)
    if limit then
      emit(callee_of(ref), 'is_too_many', ref, limit)
    end
  end
  local heard = work.relayed and at_most_now(work.entry) or work.entry
  write_call(from, ref, peer, work.entry, heard)
  keep_index(key('calls', from))
  if asks_until ~= '' and tonumber(asks_until) > now then
    remember(key('request', ref), peer, tonumber(asks_until))
  end
  local ended = presence.left(from, peer)
  if ended then
    local back, since = presence.now(from, peer)
    if back ~= peer and order.later(since, work.entry) then
      move_call(from, ref, back, { entry = work.entry, heard = heard }, since)
    elseif order.later(ended.lost, work.entry) then
      losses.note(from, ref, { peer = peer, heard = heard }, ended, now + settings.caller_grace)
    end
  end
end

-- A member of a group has accepted an inviteRequest. The member's invite will name it.
function internal.request_taken(_, ref, peer, asks_until)
  remember(key('request', ref), peer, tonumber(asks_until))
end

-- `said` is the entry of the inviter's last invite with this ref, `made` that of the first. If they differ, a
-- `call_started` may still be on its way. `refusal` is for invites that name this inviteRequest, or "".
function internal.call_ended(from, ref, made, said, refusal)
  if refusal and refusal ~= '' then
    later({ 'SET', key('request', ref), refusal, 'XX', 'KEEPTTL' })
  end
  if work.relayed and (said ~= made or redis.call('HEXISTS', key('calls', from), ref) == 0) then
    tombstone(ref, made)
  end
  later({ 'HDEL', key('calls', from), ref })
end

-- Returns the reason why an invite into a room is over, and the entry of that event: after the entry `made` the room
-- is closed or the inviter has left it, for longer than roomGrace.
function room_over(closed, left, made)
  if order.later(closed, made) then
    return 'room_closed', closed
  elseif order.later(left, made) and (settings.room_grace == 0 or order.split(left) + settings.room_grace <= now) then
    return 'caller_gone', left
  end
end

-- In the room's shard. A relayed invite may find the room closed.
function internal.room_entered(room, ref, created_at, from, made)
  if work.relayed then
    local marks = redis.call('MGET', key('closed', room), key('left', room .. '|' .. from))
    local reason, since = room_over(marks[1], marks[2], made)
    if reason then
      return emit(callee_of(ref), 'room_is_over', ref, reason, since)
    elseif is_over(ref, made) then
      return
    end
    -- The invite is in another shard: the score says whether it is older than a close.
    created_at = order.number(at_most_now(made))
  end
  add('zset', { 'ZADD', key('room-invites', room), created_at, ref })
  keep_index(key('room-invites', room))
end

function internal.room_freed(room, ref, made)
  if work.relayed and not redis.call('ZSCORE', key('room-invites', room), ref) then
    tombstone(ref, made)
  end
  later({ 'ZREM', key('room-invites', room), ref })
end
