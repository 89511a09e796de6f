-- The context of one call: keys, settings, the server's time.
--
-- The server creates these functions once and keeps them together with their variables. So at the start of a call each
-- file resets the variables of one call with `each_call`, and those of a shard with `each_shard`.

-- A function of a library looks for a global in two tables, so those that rules use all the time are locals. (The server
-- provides most of them only once the library is loaded: `begin_call` sets them.)
local function globals()
  return redis, cjson, string, tonumber, type, pairs, ipairs, unpack
end
local redis, cjson, string, tonumber, type, pairs, ipairs, unpack

local KEYS, ARGV
local each_call, each_shard, begin_call

local EVENTS, NOTIFICATIONS, TIMERS, DEAD, PUSH, RELAY
local GROUPS -- the consumer group that settles each stream
local base, shard, shards, verbosity, settings, now

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

  local KEY, ARG = places(STREAMS), places(HEADER)
  local of_call, of_shard = {}, {}

  function each_call(begin)
    of_call[#of_call + 1] = begin
  end

  -- Values that depend on the shard alone are set when a call is for another shard than the last one.
  function each_shard(begin)
    of_shard[#of_shard + 1] = begin
  end

  local counted -- the text of `shards`: comparing it costs less than tonumber
  local VERBOSITY = { ['0'] = 0, ['1'] = 1, ['2'] = 2 }

  local function begin_shard(name, count)
    base, counted = name, nil -- a call that fails in here leaves nothing for the next one
    EVENTS, NOTIFICATIONS, TIMERS = KEYS[KEY.events], KEYS[KEY.notifications], KEYS[KEY.timers]
    DEAD, PUSH, RELAY = KEYS[KEY.dead], KEYS[KEY.push], KEYS[KEY.relay]
    GROUPS = { [EVENTS] = 'workers', [PUSH] = 'push', [RELAY] = 'relay' }
    for i = 1, #of_shard do
      of_shard[i]()
    end
    shards, counted = tonumber(count), count
  end

  -- The text of `settings`. Both survive the call: workers send the same one each time.
  local decoded

  -- Returns the mode, and the place of the first argument behind the header.
  function begin_call(keys, arguments)
    if not redis then
      redis, cjson, string, tonumber, type, pairs, ipairs, unpack = globals()
    end
    KEYS, ARGV = keys, arguments
    shard, verbosity = arguments[ARG.shard], VERBOSITY[arguments[ARG.verbosity]]
    if arguments[ARG.settings] ~= decoded then
      settings = cjson.decode(arguments[ARG.settings])
      decoded = arguments[ARG.settings]
    end
    if arguments[ARG.clock] ~= '' then
      now = tonumber(arguments[ARG.clock])
    else
      local time = redis.call('TIME')
      now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
    end
    local name, count = arguments[ARG.base], arguments[ARG.shards]
    if name ~= base or count ~= counted then
      begin_shard(name, count)
    end
    for i = 1, #of_call do
      of_call[i]()
    end
    return arguments[ARG.mode], #HEADER + 1
  end
end

-- Every key of the shard begins with `base`. Ids contain no "|", so joined ids are unambiguous.
local function key(kind, id)
  return base .. kind .. ':' .. id
end

-- `digits[number]` is a whole number as text (Lua's own conversion has 14 digits, then an exponent), `numbers[text]` the
-- number that it stands for. The same few are used often, and cost no call of a function then.
local digits, numbers, int

do
  local MOST, count = 1000, 0

  local function read(known, text)
    local number = tonumber(text)
    known[text], count = number, count + 1
    return number
  end

  local function write(known, number)
    local text = string.format('%d', number)
    known[number], numbers[text], count = text, number, count + 1
    return text
  end

  each_call(function()
    if not digits or count > MOST then
      digits, numbers, count = setmetatable({}, { __index = write }), setmetatable({}, { __index = read }), 0
    end
  end)

  function int(number)
    return digits[number]
  end
end
