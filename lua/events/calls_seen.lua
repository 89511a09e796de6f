-- callsSeen: the user has seen the missed calls up to a time. This file also keeps the calls of users (keepHistory).
--
-- calls-ended:<user>   the user's calls, by the time of their end (ms): refs
-- calls-missed:<user>  those that the user has missed
-- history:<user>       ref -> the call, an object in JSON; "seen" -> up to when the user has seen the missed calls (ms)
--
-- They live in the user's shard. All expire keepHistoryFor after the user's last call.
--
-- Arguments  before (ms since 1970; "" for all until now)
-- include: core/commit
-- include: core/emit
-- include: core/order

local MOST_DROPPED = 100 -- in one step

-- The oldest calls, so that the new one is one of `most`. Several may end in one step.
local function make_room(ended, user, ref, most)
  work.kept = work.kept or {}
  local new = work.kept[user] or {}
  work.kept[user] = new
  new[#new + 1] = ref
  local left = most - #new
  local old = redis.call('ZRANGE', ended, 0, left > 0 and -left - 1 or -1)
  if left < 0 then
    old[#old + 1] = new[-left]
  end
  return old
end

-- In the user's shard: a call of the user is over. The message may come again, and late: the later end of a ref counts.
-- Removes calls that are too old, and those beyond keepHistory with the new call.
function internal.call_kept(user, ref, at, is_missed, call)
  local most, age = settings.keep_history, settings.keep_history_for
  local ended, missed, history = key('calls-ended', user), key('calls-missed', user), key('history', user)
  unit.must_be(ended, 'zset')
  local known = redis.call('ZSCORE', ended, ref)
  if most == 0 or (known and tonumber(known) > tonumber(at)) then
    return
  end
  local old = redis.call('ZRANGEBYSCORE', ended, '-inf', now - age, 'LIMIT', 0, MOST_DROPPED)
  if not known then
    local many = make_room(ended, user, ref, most)
    old = #many > #old and many or old
  end
  if #old > 0 then
    later({ 'ZREM', ended, unpack(old, 1, math.min(#old, MOST_DROPPED)) })
    later({ 'ZREM', missed, unpack(old, 1, math.min(#old, MOST_DROPPED)) })
    later({ 'HDEL', history, unpack(old, 1, math.min(#old, MOST_DROPPED)) })
  end
  add('zset', { 'ZADD', ended, at, ref })
  expire(ended, now + age)
  if is_missed == '1' then
    add('zset', { 'ZADD', missed, at, ref })
    expire(missed, now + age)
  elseif known and tonumber(known) < tonumber(at) then
    later({ 'ZREM', missed, ref })
  end
  add('hash', { 'HSET', history, ref, call })
  expire(history, now + age)
end

function events.callsSeen(user, before)
  local name = key('history', user)
  unit.must_be(name, 'hash')
  local known = redis.call('HGET', name, 'seen')
  local until_when = math.min(order.split(work.entry), now, before ~= '' and before - 1 or math.huge)
  if redis.call('EXISTS', name) == 1 and until_when > tonumber(known or 0) then
    add('hash', { 'HSET', name, 'seen', int(until_when) })
  end
end
