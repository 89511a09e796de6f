-- Indexes: which invites ring a user (pending:<user>), which calls an inviter has out (calls:<user>, request:<ref>), which
-- invites lead into a room (room-invites:<room>). Each may live in another shard than the invite.
-- include: parts/emit
-- include: parts/registry

-- An index outlives the last invite that it can name by a day, even if nobody is left to clean it.
local function keep_index(name)
  expire(name, now + settings.max_ring_timeout + DAY)
end

local function index_pending(user, ref)
  local name = key('pending', user)
  add('set', { 'SADD', name, ref })
  keep_index(name)
end

-- In the inviter's shard: which calls this user has out. Ref -> the peer that hears of it, and the entry by which its
-- inviter last spoke of it.
local function calls_of(user)
  local name = key('calls', user)
  local flat = redis.call('HGETALL', name)
  trust(name)
  local calls = {}
  for i = 1, #flat, 2 do
    local peer, entry = string.match(flat[i + 1], '^(.+)|(.+)$')
    calls[flat[i]] = { peer = peer, entry = entry }
  end
  return calls
end

-- The device of a caller is back under another peer id, which hears of the call from now on.
local function move_call(from, ref, peer, entry)
  add('hash', { 'HSET', key('calls', from), ref, peer .. '|' .. entry })
  later({ 'SET', key('request', ref), peer, 'XX', 'KEEPTTL' })
  emit(string.match(ref, '[^|]+$'), 'caller_moved', ref, peer)
end

function internal.call_started(from, ref, peer, asks_until)
  local name = key('calls', from)
  add('hash', { 'HSET', name, ref, peer .. '|' .. work.entry })
  keep_index(name)
  if asks_until and asks_until > now then
    remember(key('request', ref), peer, asks_until)
  end
  local ended = gone(from, peer)
  if ended then
    local back, since = back_as(from, peer)
    if order.later(since, work.entry) then
      move_call(from, ref, back, work.entry)
    elseif order.later(ended.lost, work.entry) then
      add('zset', { 'ZADD', TIMERS, 'NX', int(now + settings.caller_grace), 'caller|' .. from .. '|' .. peer })
    end
  end
end

-- A member of a group has accepted a request: its invite will name it.
function internal.request_taken(_, ref, peer, asks_until)
  remember(key('request', ref), peer, tonumber(asks_until))
end

function internal.call_ended(from, ref)
  later({ 'HDEL', key('calls', from), ref })
end

-- In the room's shard: which pending invites lead into it.
function internal.room_entered(room, ref, created_at)
  local name = key('room-invites', room)
  add('zset', { 'ZADD', name, created_at, ref })
  keep_index(name)
end

function internal.room_freed(room, ref)
  later({ 'ZREM', key('room-invites', room), ref })
end
