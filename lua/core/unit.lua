-- The unit of work of one event or timer: what it read, and what it will write.
--
-- A script is not rolled back, so nothing may be written before the token (the acknowledgement of the event) and
-- nothing may fail after it. That is made so by construction: rules read with redis.call and write with `later`,
-- which only notes the write down. The commit checks the notes, takes the token, and then writes.
-- include: core/context

local work

-- Which keys are known to be of the right type: nobody else writes while the script runs.
local typed

-- The notes: commands with their arguments. One list serves all events of the call.
local notes, noted

-- Keys that are added to and not known yet, and the types that they must have.
local names, types, unknown

each_call(function()
  work, typed, notes, names, types = nil, {}, {}, {}, {}
end)

-- Taking away from a key of another type has nothing to take away.
local TAKES_AWAY = { HDEL = true, SREM = true, ZREM = true, ZREMRANGEBYSCORE = true }

-- `origin` makes the ids of the notifications: unique, and the same whenever the same event is settled again.
local function begin(origin, entry)
  noted, unknown = 0, 0
  work = {
    origin = origin,
    entry = entry,
    told = 0,
    facts = {},
    invites = {},
    changed = {},
  }
end

-- Notes a write down that no type of key can make fail: one that takes away, or SET, DEL, PEXPIREAT.
local function later(note)
  noted = noted + 1
  notes[noted] = note
end

-- Notes a write down that adds to a key of a type: { command, key, argument… }.
local function add(type_name, note)
  local name = note[2]
  if not typed[name] and name ~= names[unknown] then
    unknown = unknown + 1
    names[unknown], types[unknown] = name, type_name
  end
  noted = noted + 1
  notes[noted] = note
end

-- A read has shown that the key is of the right type.
local function trust(name)
  typed[name] = true
  return name
end

-- Raises when a noted write would meet a key of the wrong type. Most keys do not exist yet, which one question tells of
-- all of them.
local function check()
  if unknown > 1 and redis.call('EXISTS', unpack(names, 1, unknown)) == 0 then
    return
  end
  for i = 1, unknown do
    local name, expected = names[i], types[i]
    if not typed[name] then
      local found = redis.call('TYPE', name).ok
      if found ~= 'none' and found ~= expected then
        error('key ' .. name .. ' holds a ' .. found .. ' where a ' .. expected .. ' belongs: delete or rename it', 0)
      end
      typed[name] = true
    end
  end
end

local function write()
  for i = 1, noted do
    local note = notes[i]
    if TAKES_AWAY[note[1]] then
      redis.pcall(unpack(note))
    else
      redis.call(unpack(note))
    end
  end
end

-- Expiry is absolute, from the script's own time: in ms since 1970, never less than a moment away.
local function expire(name, at)
  later({ 'PEXPIREAT', name, at > now and at or now + 1 })
end

-- A note that is forgotten by itself.
local function remember(name, value, until_when)
  later({ 'SET', name, value, 'PXAT', until_when > now and until_when or now + 1 })
end

-- For the log of the worker: the name of a message, and what fills it in.
local function info(name, ...)
  if verbosity > 0 then
    work.facts[#work.facts + 1] = { name, ... }
  end
end

local function debug(name, ...)
  if verbosity > 1 then
    work.facts[#work.facts + 1] = { name, ... }
  end
end

local function warn(name, ...)
  work.facts[#work.facts + 1] = { name, ... }
end

local function schedule(member, at)
  add('zset', { 'ZADD', TIMERS, at, member })
end

local function unschedule(member)
  later({ 'ZREM', TIMERS, member })
end
