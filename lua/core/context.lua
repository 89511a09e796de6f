-- The context of one call: keys, settings, the server's time.
--
-- The server creates these functions once and keeps them together with their variables. So each file resets at the
-- start of a call, with `each_call`, the variables that belong to one call.

-- A function of a library looks for a global in two tables, so those that rules use all the time are locals. (The server
-- provides most of them only once the library is loaded: `begin_call` sets them.)
local function globals()
  return redis, cjson, string, tonumber, type, pairs, ipairs, unpack
end
local redis, cjson, string, tonumber, type, pairs, ipairs, unpack

local KEYS, ARGV
local each_call, begin_call

do
  local beginnings = {}

  function each_call(begin)
    beginnings[#beginnings + 1] = begin
  end

  function begin_call(keys, arguments)
    KEYS, ARGV = keys, arguments
    redis, cjson, string, tonumber, type, pairs, ipairs, unpack = globals()
    for i = 1, #beginnings do
      beginnings[i]()
    end
  end
end

local EVENTS, NOTIFICATIONS, TIMERS, DEAD, PUSH, RELAY
local GROUPS -- the consumer group that settles each stream
local base, shard, verbosity, settings, now
local ARG

do
  -- The streams and the timers: KEYS, in this order. `SCRIPT_KEYS` in invites/keys.py is the same list.
  local STREAMS = { 'events', 'notifications', 'timers', 'dead', 'push', 'relay' }

  -- The header: the first of ARGV, in this order: `Header` of invites/store/commit.py. Times are in ms.
  --
  -- mode       "settle", "take", "fire" or "ask"
  -- base       the beginning of every key of the shard ("invites:{0}:")
  -- shard      the number of the shard; shards: how many there are
  -- clock      ms since 1970; "" for the server's time
  -- verbosity  0 reports warnings, 1 also info facts, 2 also debug facts
  -- settings   a JSON object with the fields of `Settings` of invites/store/settings.py
  local HEADER = { 'mode', 'base', 'shard', 'shards', 'clock', 'verbosity', 'settings' }

  -- (The server provides `ipairs` only once the library is loaded.)
  local function places(names)
    local at = {}
    for i = 1, #names do
      at[names[i]] = i
    end
    return at
  end

  -- The text of `settings`. Both survive the call: workers send the same one each time.
  local decoded

  local KEY = places(STREAMS)
  ARG = places(HEADER)
  ARG.after = #HEADER + 1

  each_call(function()
    EVENTS, NOTIFICATIONS, TIMERS = KEYS[KEY.events], KEYS[KEY.notifications], KEYS[KEY.timers]
    DEAD, PUSH, RELAY = KEYS[KEY.dead], KEYS[KEY.push], KEYS[KEY.relay]
    GROUPS = { [EVENTS] = 'workers', [PUSH] = 'push', [RELAY] = 'relay' }
    base, shard, verbosity = ARGV[ARG.base], ARGV[ARG.shard], tonumber(ARGV[ARG.verbosity])
    if ARGV[ARG.settings] ~= decoded then
      decoded = ARGV[ARG.settings]
      settings = cjson.decode(decoded)
    end
    now = tonumber(ARGV[ARG.clock])
    if not now then
      local time = redis.call('TIME')
      now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
    end
  end)
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
