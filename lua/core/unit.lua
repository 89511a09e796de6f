-- The unit of work of one event or timer: its reads, and notes of its writes.
--
-- The server does not roll a script back. So nothing may write before the token (the acknowledgement of the event),
-- and nothing may fail after it. Rules read with redis.call and write with `later` and `add`, which only note the
-- command. The commit checks the notes, takes the token, and then writes.
-- exports: work, unit, later, add, trust, measures
-- exports: expire, remember, info, debug, warn, schedule, unschedule
-- include: core/context
-- include: core/lifetimes
-- include: core/permissions

unit = {}

-- The keys whose type is known to be right. Nobody else writes while the script runs.
local typed

-- The notes: commands with their arguments. One list for all units, which never shrinks: `noted` is how many the
-- current unit has.
local notes, noted = {}, 0

-- The notes of `expire` stay as well: the unit has `expired` of them.
local expiries, expired = {}, 0

-- The server's answer to each note of this unit.
local replies = {}

-- Keys that nearly always exist: asking for their types at once is cheaper than first asking whether they exist.
local ALWAYS

-- The keys to check: notes add to them, and their type is unknown. `types` has the type that each must have.
local names, types, unknown = {}, {}, 0

-- What calls took, for the workers' metrics (invites/store/measures.py). All events of a call share one list. `measured`
-- is its length, `kept` that of the lines of units that are written.
local lines, measured, kept = {}, 0, 0

each_shard(function()
  ALWAYS = { [NOTIFICATIONS] = true, [TIMERS] = true }
end)

each_call(function()
  work, typed = nil, {}
  measured, kept = 0, 0
end)

-- These commands may fail: a key of another type holds nothing that they could remove.
local TAKES_AWAY = { HDEL = true, SREM = true, ZREM = true, ZREMRANGEBYSCORE = true }

-- `origin` makes the ids of notifications unique. An event that is settled again has the same origin.
function unit.begin(origin, entry)
  noted, expired, unknown, measured = 0, 0, 0, kept
  work = { origin = origin, entry = entry, told = 0, facts = nil, invites = {}, changed = {} }
end

-- Notes a write that cannot fail, whatever the type of the key: it removes, or is SET, DEL or PEXPIREAT.
function later(note)
  noted = noted + 1
  notes[noted] = note
end

-- Notes a write that adds to a key of a type: { command, key, argument… }. Returns its number among the notes.
function add(type_name, note)
  local name, number = note[2], noted + 1
  if not typed[name] then
    if ALWAYS[name] then
      unit.must_be(name, type_name)
    elseif name ~= names[unknown] then
      unknown = unknown + 1
      names[unknown], types[unknown] = name, type_name
    end
  end
  noted, notes[number] = number, note
  return number
end

-- A read has shown that the key has the right type.
function trust(name)
  typed[name] = true
  return name
end

-- The same for the first keys of a list.
function unit.trust_first(list, count)
  local typed = typed
  for i = 1, count do
    typed[list[i]] = true
  end
end

-- Raises an error when the key has another type.
function unit.must_be(name, expected)
  if not typed[name] then
    local found = redis.call('TYPE', name).ok
    if found ~= 'none' and found ~= expected then
      error('key ' .. name .. ' holds a ' .. found .. ' and must hold a ' .. expected .. ': delete or rename it', 0)
    end
    typed[name] = true
  end
end

-- Raises an error when a noted write would meet a key of the wrong type. Most keys do not exist yet, so one EXISTS
-- answers first for up to 1,000 of them: Lua passes some 8,000 values to a function at most.
function unit.check()
  for first = 1, unknown, 1000 do
    local last = math.min(first + 999, unknown)
    if last == first or redis.call('EXISTS', unpack(names, first, last)) > 0 then
      for i = first, last do
        unit.must_be(names[i], types[i])
      end
    end
  end
end

local at -- which note is being written

local function write_from(first)
  local call, unpack, notes, replies = redis.call, unpack, notes, replies
  for i = first, noted do
    at = i
    replies[i] = call(unpack(notes[i]))
  end
end

-- Writes all notes. Returns true, or false and the failure of the note `at`.
local function write_all()
  local done, failure = pcall(write_from, 1)
  while not done and TAKES_AWAY[notes[at][1]] and not permissions.is_denied(notes[at][1], notes[at][2]) do
    done, failure = pcall(write_from, at + 1)
  end
  return done, failure
end

-- The entries that an event adds to streams for others carry its trace. A dead letter keeps the event's own fields.
local function trace_notes(trace)
  for i = 1, noted do
    local note = notes[i]
    if note[1] == 'XADD' and note[2] ~= DEAD then
      note[#note + 1], note[#note + 2] = 'traceparent', trace
    end
  end
end

-- Writes the notes, with the trace of their event (nil: none). When the ACL denies one, owes the rest and fails the
-- call. Returns any other failure, or nil and the answers to the notes by their numbers.
function unit.write(trace)
  if trace then
    trace_notes(trace)
  end
  local done, failure = write_all()
  if done then
    kept = measured
    return nil, replies
  end
  local command, name = notes[at][1], notes[at][2]
  if permissions.is_denied(command, name) then
    permissions.owe(notes, at, noted)
    permissions.refuse(command)
  end
  return failure
end

-- `at` is in ms since 1970. A time in the past becomes the next millisecond.
function expire(name, at)
  expired = expired + 1
  local note = expiries[expired] or { 'PEXPIREAT', name, 0 }
  expiries[expired], note[2], note[3] = note, name, at > now and at or now + 1
  later(note)
end

-- Sets a key that expires.
function remember(name, value, until_when)
  later({ 'SET', name, value, 'PXAT', until_when > now and until_when or now + 1 })
end

local function note_fact(fact)
  work.facts = work.facts or {}
  work.facts[#work.facts + 1] = fact
end

-- Facts for the worker's log: the name of a message and its values.
function info(name, ...)
  if verbosity > 0 then
    note_fact({ name, ... })
  end
end

function debug(name, ...)
  if verbosity > 1 then
    note_fact({ name, ... })
  end
end

function warn(name, ...)
  note_fact({ name, ... })
end

measures = {}

-- Notes a line: a name of invites/store/measures.py and its words. A point in time stands as it is stored (ms since
-- 1970, or an entry id): the worker compares it with the time of the reply.
function measures.add(line)
  measured = measured + 1
  lines[measured] = line
end

-- One text: each table in a reply costs the server as much as a write.
function measures.text()
  return table.concat(lines, '\n', 1, kept)
end

function schedule(member, at)
  add('zset', { 'ZADD', TIMERS, at, member })
end

function unschedule(member)
  later({ 'ZREM', TIMERS, member })
end
