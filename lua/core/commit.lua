-- The commit: one call settles a batch of events, each in its own unit of work.
--
-- The acknowledgement is the token. Only one worker's XACK returns 1, and the same script writes the effects. So an
-- event has its effects exactly once, even if workers crash or claim it twice, or the server fails over.
--
-- The outcome of an event is one of
--   1, {1, fact…}    done
--   0                another worker has settled it
--   {2, need, fact…} nothing is written: the worker must look `need` up and settle the event again
--   {3, error}       nothing is written: the rule has failed
--   {4}              nothing is written: the consumer group does not exist
--   {5, error}       settled, but a write has failed: some effects are missing
-- The call fails with "DENIED " and commands when the ACL denies this user writes (see core/permissions.lua).
-- A fact is a list: the name of a log message and its values.
-- exports: events, timers, need, commit
-- include: core/unit
-- include: core/order
-- include: core/patience
-- include: core/story
-- include: core/emit
-- include: call/invites

events, timers, commit = {}, {}, {}

-- Ends a rule that needs a value that only a worker can look up.
function need(what)
  error({ need = what }, 0)
end

local FIRST_RETRY, LAST_RETRY = 1000, 300000 -- ms

local function message(failure)
  if type(failure) == 'table' then
    if failure.need then
      return failure
    end
    return failure.err or 'unknown error'
  end
  return tostring(failure)
end

local function apply(rule, arguments, first, last)
  rule(unpack(arguments, first, last))
  report_changes()
  save_changes()
  unit.check()
end

-- Runs the rule and checks its notes. Returns true, or false and the failure.
local function prepare(rule, arguments, first, last)
  local done, failure = pcall(apply, rule, arguments, first, last)
  if done then
    return true
  end
  return false, message(failure)
end

local NONE = {}

local function with_facts(...)
  local outcome = { ... }
  for _, fact in ipairs(work.facts or NONE) do
    outcome[#outcome + 1] = fact
  end
  return outcome
end

-- The token of an event: 1 when this worker gets it, 0 when another has it, nil when the consumer group does not
-- exist.
local function acknowledge(stream, entry)
  if permissions.unless_denied(redis.pcall('XACK', stream, GROUPS[stream], entry), 'XACK', stream) == 1 then
    return 1
  end
  local group = redis.pcall('XPENDING', stream, GROUPS[stream])
  return not group.err and 0 or nil
end

-- The token of a relayed entry: this shard notes its id, and keeps the note as long as the entry may come again. The
-- fraction of the score is the mark of the message (see events/relay.lua): another message with the id is not taken yet.
local function note_taken(from, entry)
  local name, score = key('taken', from), order.split(entry) + (work.mark or 0) / 4096
  local noted = permissions.unless_denied(redis.pcall('ZADD', name, 'NX', score, entry), 'ZADD', name)
  if noted == 0 then
    local found = tonumber(redis.call('ZSCORE', name, entry))
    if found ~= score and found % 1 > 0 then -- an older release noted no mark
      redis.call('ZADD', name, score, entry)
      return 1
    end
  end
  return noted
end

-- The first ms, as text, of ids from the future; nil when ids are not to be looked at.
local future

-- An id from the future would be later than all that follows, so it counts as now. The token and the ids of
-- notifications keep it, and it stays in `work.ahead`.
local function count_as_now(entry)
  work.ahead, work.entry = entry, int(now) .. '-' .. string.match(entry, '%d+$')
  warn('entry_ahead', entry, work.entry)
end

-- The name of the rule and the traceparent of an event that has one: its handler is both, with a space between them.
local function traced(handler)
  return string.match(handler, '^(%a+) (%S+)$')
end

-- Writes the unit with its story, once the token is set. Returns a failure, or nil.
local function write(name, arguments, first, trace)
  messages.send()
  local failure, replies = unit.write(trace)
  if failure then
    return message(failure)
  end
  if settings.story then
    story.write(replies, name, arguments, first)
  end
end

-- Applies the messages of a bundle, whose token is set, each in a unit of its own. One that fails, or is unknown, is
-- forwarded alone. When the ACL denies a write, the messages after it are forwarded alone, and the call fails.
local function apply_bundle(bundle, origin, entry)
  local outcome, failed = { 1 }, nil
  for i = 1, #bundle do
    local one = bundle[i]
    unit.begin(origin .. '.' .. digits[i], entry)
    if not is_here(one[2]) then
      messages.pass_on(one)
    elseif not prepare(messages.apply, one, 1, #one) then
      messages.set_apart(one)
    else
      local done, failure = pcall(write, 'relay', one, 1)
      if not done then
        for rest = i + 1, #bundle do
          messages.set_apart(bundle[rest])
        end
        error(failure, 0)
      elseif failure then
        failed = (failed and failed .. '; ' or '') .. 'message ' .. i .. ' (' .. one[1] .. '): ' .. failure
      end
      for _, fact in ipairs(work.facts or NONE) do
        outcome[#outcome + 1] = fact
      end
    end
  end
  return failed and { 5, failed } or outcome[2] and outcome or 1
end

local function settle_one(token, from, origin, handler, entry, first, last)
  unit.begin(origin, entry)
  -- As texts, ids with equally many digits of ms compare as they should. One with more digits is longer than `future`,
  -- and has no hyphen (45) after that many.
  if future and (entry > future or (#entry > #future + 2 and string.byte(entry, #future + 1) ~= 45))
    and not order.later(future, entry) then
    count_as_now(entry)
  end
  local rule, name, trace = events[handler], handler, nil
  if not rule then
    name, trace = traced(handler)
    rule, work.trace = events[name or ''], trace
  end
  if not rule then
    return { 3, 'unknown rule ' .. handler }
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
  if work.bundle then
    return apply_bundle(work.bundle, origin, entry)
  end
  failure = write(name, ARGV, first, trace)
  if failure then
    return { 5, failure }
  end
  if not work.facts then
    return 1
  end
  return with_facts(1)
end

-- The commit is done, so this must not fail if the timers cannot be read.
local function next_due()
  local first = redis.pcall('ZRANGE', TIMERS, 0, 0, 'WITHSCORES')
  return first[2] or ''
end

-- The messages of a call's units to other shards are written with the units, even if the call fails after some of them.
local function with_messages(done, result, ...)
  messages.flush()
  if not done then
    error(result, 0)
  end
  return result, ...
end

-- Settles the entries in ARGV from `at` on. `prefix` separates the ids of their notifications from those of events.
-- Each table in a reply costs the server as much as a write. So outcomes that are all numbers become one text.
local function settle_each(token, from, prefix, at)
  local outcomes, count, is_plain, handler = {}, 0, true, ARGV[at]
  while handler do
    local entry, last = ARGV[at + 1], at + 2 + ARGV[at + 2]
    local outcome = settle_one(token, from, prefix .. entry, handler, entry, at + 3, last)
    count = count + 1
    outcomes[count], is_plain = outcome, is_plain and type(outcome) == 'number'
    at = last + 1
    handler = ARGV[at]
  end
  return outcomes, is_plain
end

-- The server's processor time (s), or its time if it offers functions no `os`. Then only Redis 7.0 moves the time on
-- during a call; others cannot tell what it took.
local clock

local function find_clock()
  local found, read = pcall(function()
    return os.clock
  end)
  clock = found and read or function()
    local time = redis.call('TIME')
    return tonumber(time[1]) + tonumber(time[2]) / 1000000
  end
end

local function settled(token, from, prefix, at)
  if not clock then
    find_clock()
  end
  local began = clock()
  local outcomes, is_plain = with_messages(pcall(settle_each, token, from, prefix, at))
  local due = next_due()
  local took = string.format('%d', (clock() - began) * 1000000)
  if is_plain then
    return digits[now] .. ' ' .. due .. ' ' .. took .. ' ' .. table.concat(outcomes) .. '\n' .. measures.text()
  end
  return { int(now), due, took, measures.text(), unpack(outcomes) }
end

function commit.settle(source, at)
  local stream = KEYS[source]
  future = stream == EVENTS and int(now + order.TOLERANCE + 1) or nil
  return settled(acknowledge, stream, stream == EVENTS and '' or string.match(stream, '%l+$'), at)
end

-- The shard `from` has settled every entry of its relay stream before `low_watermark`. Such an entry comes again only
-- from a worker that has held it for a long time, and is refused.
function commit.take(from, low_watermark, at)
  future = nil
  local known = redis.call('HGET', key('taken', 'floors'), from)
  if order.later(low_watermark, known) then
    local floors, name = key('taken', 'floors'), key('taken', from)
    permissions.unless_denied(redis.pcall('HSET', floors, from, low_watermark), 'HSET', floors)
    local before = '(' .. int(order.split(low_watermark))
    permissions.unless_denied(redis.pcall('ZREMRANGEBYSCORE', name, '-inf', before), 'ZREMRANGEBYSCORE', name)
    known = low_watermark
  end
  local function token(_, entry)
    return order.later(known, entry) and 0 or note_taken(from, entry)
  end
  return settled(token, from, 'relay' .. from .. '.', at)
end

-- How often the timer has failed, and when it was due. `score` is its time among the timers: the next try, if it has
-- failed. A rule that has scheduled the timer since then has given it another time, and the note no longer counts.
local function history(member, score)
  local note = redis.pcall('GET', key('retry', member))
  local at, failures, due = string.match(type(note) == 'string' and note or '', '^(%S+) (%d+) (%S+)$')
  if at == score then
    return tonumber(failures), due
  end
  return 0, score
end

-- The timer comes back, with back-off: a call whose time-out fails must still end once the cause is fixed.
local function try_again(member, due, failures, failure)
  local at = int(now + math.min(FIRST_RETRY * 2 ^ (failures - 1), LAST_RETRY))
  schedule(member, at)
  remember(key('retry', member), at .. ' ' .. failures .. ' ' .. due, lifetimes.retry())
  if failures > 1 then
    warn('timer_failed_again', member, failures, failure)
    return
  end
  warn('timer_failed', member, failure)
  local kind = redis.call('TYPE', DEAD).ok
  if kind == 'none' or kind == 'stream' then -- a letter that cannot be written must not hold up all timers
    later({ 'XADD', DEAD,
      '*', 'type', 'timer', 'payload', member, 'error', failure, 'entry', '', 'deliveries', '1', 'due', due,
    })
  end
end

local function apply_timer(member, due)
  local kind, rest = string.match(member, '^(%l+)|(.+)$')
  local rule = kind and timers[kind]
  if not rule then
    return 'timer ' .. member .. ' has an unknown kind'
  end
  local done, failure = prepare(rule, { rest, tonumber(due) }, 1, 2)
  if not done and type(failure) == 'table' then
    return 'timer ' .. member .. ' needs a lookup: ' .. failure.need
  end
  return failure
end

local function begin_timer(member, due)
  unit.begin(member .. '@' .. due, due .. '-0')
  unschedule(member)
end

local function fire_one(member, score)
  local failures, due = history(member, score)
  begin_timer(member, due)
  local failure = apply_timer(member, due)
  if not failure then
    if failures > 0 then
      later({ 'DEL', key('retry', member) })
      info('timer_recovered', member, failures)
    end
    failure = write(member)
  end
  if failure then
    begin_timer(member, due)
    try_again(member, due, failures + 1, message(failure))
    unit.write()
  end
  return work.facts or NONE
end

-- How long until timers that wait for an event are looked at again (ms).
local AGAIN = 50

local function fire_each(limit, patience)
  local due = redis.call('ZRANGEBYSCORE', TIMERS, '-inf', int(now), 'WITHSCORES', 'LIMIT', 0, limit)
  local before = due[1] and ready_before(tonumber(due[#due]), patience)
  local result = { int(now), '', '', 0 }
  for i = 1, #due, 2 do
    if tonumber(due[i + 1]) >= before then
      result[2] = int(now + AGAIN)
      return result
    end
    result[4] = result[4] + 1
    -- An earlier timer of this call may have removed or moved this one.
    if redis.call('ZSCORE', TIMERS, due[i]) == due[i + 1] then
      for _, fact in ipairs(fire_one(due[i], due[i + 1])) do
        result[#result + 1] = fact
      end
    end
  end
  result[2] = next_due()
  return result
end

function commit.fire(limit, patience)
  local result = with_messages(pcall(fire_each, limit, patience))
  result[3] = measures.text()
  return result
end
