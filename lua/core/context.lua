-- The context of one call: keys, settings, the server's time.
--
-- The server creates these functions once and keeps them together with their variables. So each file resets at the
-- start of a call, with `each_call`, the variables that belong to one call, and with `each_shard` those of a shard.

-- A function of a library looks for a global in two tables, so those that rules use all the time are locals. (The server
-- provides most of them only once the library is loaded: `begin_call` sets them.)
local function globals()
  return redis, cjson, string, tonumber, type, pairs, ipairs, unpack
end
local redis, cjson, string, tonumber, type, pairs, ipairs, unpack

-- KEYS are the streams and the timers, in this order: `SCRIPT_KEYS` in invites/keys.py is the same list.
local KEYS, ARGV
local EVENTS, NOTIFICATIONS, TIMERS, DEAD, PUSH, RELAY
local GROUPS -- the consumer group that settles each stream

-- ARGV begins with the header, in this order: `Header` of invites/store/commit.py. Times are in ms.
--
-- mode       "settle", "take", "fire" or "ask"
-- base       the beginning of every key of the shard ("invites:{0}:")
-- shard      the number of the shard
-- shards     how many there are
-- clock      ms since 1970; "" for the server's time
-- verbosity  0 reports warnings, 1 also info facts, 2 also debug facts
-- settings   a JSON object with the fields of `Settings` of invites/store/settings.py
local base, shard, shards, verbosity, settings, now

local each_call, each_shard, begin_call

do
  local of_call, of_shard = {}, {}

  -- The text of `settings`. Both survive the call: workers send the same one each time.
  local decoded

  function each_call(begin)
    of_call[#of_call + 1] = begin
  end

  -- What follows from the shard alone is set when a call is for another shard than the last one.
  function each_shard(begin)
    of_shard[#of_shard + 1] = begin
  end

  local function begin_shard(name, count)
    base, shards = name, count
    EVENTS, NOTIFICATIONS, TIMERS, DEAD, PUSH, RELAY = unpack(KEYS)
    GROUPS = { [EVENTS] = 'workers', [PUSH] = 'push', [RELAY] = 'relay' }
    for i = 1, #of_shard do
      of_shard[i]()
    end
  end

  -- Returns the mode, the number of shards as the header has it, and the place of the first argument behind the header.
  function begin_call(keys, arguments)
    if not redis then
      redis, cjson, string, tonumber, type, pairs, ipairs, unpack = globals()
    end
    local mode, name, count, clock, text
    KEYS, ARGV = keys, arguments
    mode, name, shard, count, clock, verbosity, text = unpack(arguments, 1, 7)
    verbosity = tonumber(verbosity)
    if text ~= decoded then
      settings, decoded = cjson.decode(text), text
    end
    now = tonumber(clock)
    if not now then
      local time = redis.call('TIME')
      now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
    end
    if name ~= base or tonumber(count) ~= shards then
      begin_shard(name, tonumber(count))
    end
    for i = 1, #of_call do
      of_call[i]()
    end
    return mode, count, 8
  end
end

-- Every key of the shard begins with `base`. Ids contain no "|", so joined ids are unambiguous.
local function key(kind, id)
  return base .. kind .. ':' .. id
end

-- Whole numbers as text. (Lua's own conversion has 14 digits, then an exponent.) The same few are used often.
local int

do
  local MOST = 1000
  local digits, count = {}, 0

  function int(number)
    local text = digits[number]
    if not text then
      if count == MOST then
        digits, count = {}, 0
      end
      text = string.format('%d', number)
      digits[number], count = text, count + 1
    end
    return text
  end
end
