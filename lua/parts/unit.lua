-- The unit of work of one event or timer: what it read, and what it will write.
--
-- A script is not rolled back, so nothing may be written before the token (the acknowledgement of the event) and
-- nothing may fail after it. That is made so by construction: rules read with redis.call and write with `later`,
-- which only notes the write down. The commit checks the notes, takes the token, and then writes.
-- include: parts/context
-- include: parts/json

local work

-- Which keys are known to be of the right type: nobody else writes while the script runs.
local typed = {}

-- The notes: for each write how many arguments, then the arguments. One flat list serves all events of the call, since
-- a table for each write would be most of what there is to collect.
local notes, noted = {}, 0

-- `origin` makes the ids of the notifications: unique, and the same whenever the same event is settled again.
local function begin(origin, entry)
  noted = 0
  work = {
    origin = origin,
    entry = entry,
    told = 0,
    types = {},
    facts = {},
    invites = {},
    changed = {},
  }
end

-- Notes a write down. `kind` is the type that the key must have, or nil where any will do (SET, DEL, PEXPIREAT).
local function later(kind, command, name, a, b, c, d)
  if kind and not typed[name] then
    work.types[name] = kind
  end
  notes[noted + 2], notes[noted + 3], notes[noted + 4] = command, name, a
  notes[noted + 5], notes[noted + 6], notes[noted + 7] = b, c, d
  local count = d and 6 or c and 5 or b and 4 or a and 3 or 2
  notes[noted + 1] = count
  noted = noted + 1 + count
end

-- As `later`, for a list of arguments.
local function later_all(kind, command, name, list)
  if not typed[name] then
    work.types[name] = kind
  end
  notes[noted + 1], notes[noted + 2], notes[noted + 3] = #list + 2, command, name
  for i = 1, #list do
    notes[noted + 3 + i] = list[i]
  end
  noted = noted + 3 + #list
end

-- A read has shown that the key is of the right type.
local function trust(name)
  typed[name] = true
  return name
end

-- Raises when a noted write would meet a key of the wrong type.
local function check()
  for name, kind in pairs(work.types) do
    local found = redis.call('TYPE', name).ok
    if found ~= 'none' and found ~= kind then
      error('key ' .. name .. ' holds a ' .. found .. ' where a ' .. kind .. ' belongs: delete or rename it', 0)
    end
    typed[name] = true
  end
end

local function write()
  local at = 1
  while at <= noted do
    local last = at + notes[at]
    redis.call(unpack(notes, at + 1, last))
    at = last + 1
  end
end

-- Expiry is absolute, from the script's own time: in ms since 1970, never less than a moment away.
local function expire(name, at)
  later(nil, 'PEXPIREAT', name, int(math.max(at, now + 1)))
end

-- A note that is forgotten by itself.
local function remember(name, value, until_when)
  later(nil, 'SET', name, value, 'PXAT', int(math.max(until_when, now + 1)))
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
  later('zset', 'ZADD', TIMERS, int(at), member)
end

local function unschedule(member)
  later('zset', 'ZREM', TIMERS, member)
end
