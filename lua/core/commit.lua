-- The commit: each event is settled in a unit of work of its own, all in one call.
--
-- The acknowledgement is the token: whoever's XACK is answered 1 has the event, and its effects are written in the same
-- script. So an event has its effects exactly once, whatever crashes, is claimed twice or fails over.
--
-- The outcome of an event is 1 (done), 0 (somebody else has settled it), or a list: {1, fact…} done, {2, need, fact…}
-- something must be looked up before the event can be settled, {3, error} it failed and was not touched, {4} the
-- consumer group is missing. A fact is a list: the name of a log message and what fills it in.
-- include: core/unit
-- include: core/order
-- include: call/invites

local events, timers = {}, {}

local function message(failure)
  if type(failure) == 'table' then
    if failure.need then
      return failure
    end
    return failure.err or 'unknown error'
  end
  return tostring(failure)
end

-- Raised by a rule that cannot decide without something that only a worker can look up.
local function need(what)
  error({ need = what }, 0)
end

local function apply(rule, arguments, first, last)
  rule(unpack(arguments, first, last))
  report_changes()
  save_changes()
  check()
end

-- Runs the rule and checks its notes. True, or false and why not.
local function prepare(rule, arguments, first, last)
  local done, failure = pcall(apply, rule, arguments, first, last)
  if done then
    return true
  end
  return false, message(failure)
end

local function with_facts(...)
  local outcome = { ... }
  for _, fact in ipairs(work.facts) do
    outcome[#outcome + 1] = fact
  end
  return outcome
end

-- The tokens: 1 for whoever gets it, 0 when somebody else had it, nil when there is no consumer group.
local function acknowledge(stream, entry)
  if redis.call('XACK', stream, GROUPS[stream], entry) == 1 then
    return 1
  end
  local group = redis.pcall('XPENDING', stream, GROUPS[stream])
  return not group.err and 0 or nil
end

-- What another shard relays is taken when its entry is noted here, for as long as it may come again.
local function note_taken(from, entry)
  return redis.call('ZADD', key('taken', from), 'NX', order.split(entry), entry)
end

local function settle_one(token, from, origin, handler, entry, first, last)
  begin(origin, entry)
  local rule = events[handler]
  if not rule then
    return { 3, 'no rule named ' .. handler }
  end
  local ready, failure = prepare(rule, ARGV, first, last)
  if not ready then
    if type(failure) == 'table' then
      return with_facts(2, failure.need)
    end
    return { 3, failure }
  end
  local got = token(from, entry)
  if got ~= 1 then
    return got or { 4 }
  end
  write()
  if #work.facts == 0 then
    return 1
  end
  return with_facts(1)
end

-- What was committed stands, even when the timers cannot be read.
local function next_due()
  local first = redis.pcall('ZRANGE', TIMERS, 0, 0, 'WITHSCORES')
  return first[2] or ''
end

-- Settles the entries in ARGV from `at` on. `prefix` makes the ids of what they tell their own.
local function settle_each(token, from, prefix, at)
  local result = { int(now), '' }
  while ARGV[at] do
    local entry, arguments = ARGV[at + 1], tonumber(ARGV[at + 2])
    result[#result + 1] = settle_one(token, from, prefix .. entry, ARGV[at], entry, at + 3, at + 2 + arguments)
    at = at + 3 + arguments
  end
  result[2] = next_due()
  return result
end

local function settle(source, at)
  local stream = KEYS[source]
  return settle_each(acknowledge, stream, stream == EVENTS and '' or string.match(stream, '%l+$'), at)
end

-- `low_watermark` is an entry of the shard `from` before which everything is settled there: none of that comes again, unless it is
-- on its way for the second time.
local function take(from, low_watermark, at)
  local known = redis.call('HGET', key('taken', 'floors'), from)
  if order.later(low_watermark, known) then
    redis.call('HSET', key('taken', 'floors'), from, low_watermark)
    redis.call('ZREMRANGEBYSCORE', key('taken', from), '-inf', '(' .. int(order.split(low_watermark)))
    known = low_watermark
  end
  local function token(_, entry)
    return order.later(known, entry) and 0 or note_taken(from, entry)
  end
  return settle_each(token, from, 'relay' .. from .. '.', at)
end

-- A timer that cannot be applied becomes a dead letter, so that it cannot come back for ever.
local function dead_letter(member, failure)
  begin(member, '0-0')
  add('stream', { 'XADD', DEAD,
    '*', 'type', 'timer', 'payload', member, 'error', failure, 'entry', '', 'deliveries', '1',
  })
  warn('timer_failed', member, failure)
  check()
end

local function fire_one(member, due)
  begin(member .. '@' .. due, due .. '-0')
  local kind, rest = string.match(member, '^(%l+)|(.+)$')
  local rule = kind and timers[kind]
  local ready, failure
  if rule then
    ready, failure = prepare(rule, { rest, tonumber(due) }, 1, 2)
  else
    failure = 'timer ' .. member .. ' is of no known kind'
  end
  if not ready then
    dead_letter(member, failure)
  end
  redis.call('ZREM', TIMERS, member)
  write()
  return work.facts
end

local function fire(limit)
  local due = redis.call('ZRANGEBYSCORE', TIMERS, '-inf', int(now), 'WITHSCORES', 'LIMIT', 0, limit)
  local result = { int(now), '', #due / 2 }
  for i = 1, #due, 2 do
    -- An earlier timer of this call may have taken this one back.
    if redis.call('ZSCORE', TIMERS, due[i]) == due[i + 1] then
      for _, fact in ipairs(fire_one(due[i], due[i + 1])) do
        result[#result + 1] = fact
      end
    end
  end
  result[2] = next_due()
  return result
end
