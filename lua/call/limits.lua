-- Limits on what one user may have at the same time. 0 switches a limit off.
--
-- devicesPerUser  registrations of a user; the one that was not renewed for the longest time goes
-- perCallee       pending invites to a user; perPair: those of one inviter
-- perCaller       pending invites of a user; a trunk calls for many, and has no such limit
--
-- An index tells by its size alone that no limit is near. Only then the refs are counted: the index of a trunk's user
-- has invites to others as well.
-- exports: limit_of_callee, limit_of_caller
-- include: core/refs
-- include: reach/registry

-- How many refs in the set match the pattern. One pass over it, in the server's own code.
local function count_refs(name, pattern)
  local count, cursor = 0, '0'
  repeat
    local found = redis.call('SSCAN', name, cursor, 'COUNT', 1000, 'MATCH', pattern)
    cursor, count = found[1], count + #found[2]
  until cursor == '0'
  return count
end

-- Does the set hold as many refs as the limit allows?
local function is_full(size, limit, name, pattern)
  return limit > 0 and size >= limit and count_refs(name, pattern) >= limit
end

local function limit_in(name, from, to)
  must_be(name, 'set')
  local size = redis.call('SCARD', name)
  if is_full(size, settings.per_pair, name, glob(from) .. '|*|' .. glob(to)) then
    return 'perPair'
  elseif is_full(size, settings.per_callee, name, '*|' .. glob(to)) then
    return 'perCallee'
  end
end

-- The limit that one more invite from `from` to `to` would break, or nil.
function limit_of_callee(from, to)
  return limit_in(key('pending', to), from, to)
    or (settings.parallel_sip and limit_in(key('parallel', to), from, to) or nil)
end

local function is_trunk(user, peer)
  local found = registration(user, peer)
  return found and found.trunk
end

-- The same for one more invite of the caller, in its shard.
function limit_of_caller(from, peer)
  local limit, calls = settings.per_caller, key('calls', from)
  must_be(calls, 'hash')
  if limit > 0 and redis.call('HLEN', calls) >= limit and not is_trunk(from, peer) then
    return 'perCaller'
  end
end
