-- Limits on what one user may have at the same time. 0 switches a limit off.
--
-- devicesPerUser  registrations of a user; the one that was not renewed for the longest time goes
-- perCallee       pending invites to a user; perPair: those of one inviter, and what it has replaced lately
-- perCaller       pending invites of a user
--
-- A trunk calls for many: perPair and perCaller do not limit it.
--
-- The size of an index shows that no limit is near. Only if one is near are the refs counted, since the index of a
-- trunk's user also has invites to others.
--
-- replaced:<from>|<to>  what the inviter has replaced lately, by the time (ms) of its end; expires
-- redials               "1" while there is any of these keys
-- exports: limits
-- include: core/refs
-- include: reach/registry

limits = {}

-- How many refs in the set match the pattern. One pass over it, in the server's own code.
local function count_refs(name, pattern)
  local count, cursor = 0, '0'
  repeat
    local found = redis.call('SSCAN', name, cursor, 'COUNT', 1000, 'MATCH', pattern)
    cursor, count = found[1], count + #found[2]
  until cursor == '0'
  return count
end

-- Does the set hold as many refs as the limit allows, with `more` that it does not hold?
local function is_full(size, limit, name, pattern, more)
  return limit > 0 and size + more >= limit and count_refs(name, pattern) + more >= limit
end

-- How long (ms) replaced invites count; otherwise a redial in a loop would have no limit.
local LATELY = 10000

-- The key that says that somebody has replaced an invite lately.
function limits.redials()
  return base .. 'redials'
end

-- Asked once in each call, since hardly any invite needs a count.
local has_redials

each_call(function()
  has_redials = nil
end)

local function are_redials()
  if has_redials == nil then
    has_redials = redis.call('EXISTS', limits.redials()) == 1
  end
  return has_redials
end

local function replaced_lately(from, to)
  if settings.per_pair == 0 or not are_redials() then
    return 0
  end
  local name = key('replaced', from .. '|' .. to)
  unit.must_be(name, 'zset')
  return #redis.call('ZRANGEBYSCORE', name, now - LATELY + 1, '+inf')
end

-- The inviter has replaced the invite.
function limits.count_replaced(from, to, ref)
  local name = key('replaced', from .. '|' .. to)
  later({ 'ZREMRANGEBYSCORE', name, '-inf', now - LATELY })
  add('zset', { 'ZADD', name, now, ref })
  expire(name, now + LATELY)
  remember(limits.redials(), '1', now + LATELY)
  has_redials = true
end

-- Does the peer call for many?
function limits.is_trunk(user, peer)
  local found = registry.find(user, peer)
  return found and found.trunk
end

local function limit_in(name, from, peer, to, leaving)
  unit.must_be(name, 'set')
  local size = redis.call('SCARD', name)
  if is_full(size, settings.per_pair, name, glob(from) .. '|*|' .. glob(to), replaced_lately(from, to))
    and not limits.is_trunk(from, peer) then
    return 'perPair'
  elseif is_full(size, settings.per_callee, name, '*|' .. glob(to), -leaving) then
    return 'perCallee'
  end
end

-- The limit that one more invite from `from` (by this peer) to `to` would break, or nil. It replaces `leaving` pending ones.
function limits.of_callee(from, peer, to, leaving)
  return limit_in(key('pending', to), from, peer, to, leaving)
    or (settings.parallel_sip and limit_in(key('parallel', to), from, peer, to, leaving) or nil)
end

-- The same for one more invite of the caller, in its shard. It replaces those of its calls that `leaving` lists
-- (JSON, or nil).
function limits.of_caller(from, peer, leaving)
  local limit, calls = settings.per_caller, key('calls', from)
  unit.must_be(calls, 'hash')
  if limit == 0 or redis.call('HLEN', calls) < limit or limits.is_trunk(from, peer) then
    return nil
  end
  local left = redis.call('HLEN', calls)
  for _, ref in ipairs(leaving and cjson.decode(leaving) or {}) do
    left = left - redis.call('HEXISTS', calls, ref)
  end
  return left >= limit and 'perCaller' or nil
end
