-- The context of one call: keys, settings, the server's time.
--
-- The server creates these functions once and keeps them together with their variables. So each file resets at the
-- start of a call, with `each_call`, the variables that belong to one call.

local KEYS, ARGV
local beginnings = {}

local function each_call(begin)
  beginnings[#beginnings + 1] = begin
end

local function begin_call(keys, arguments)
  KEYS, ARGV = keys, arguments
  for i = 1, #beginnings do
    beginnings[i]()
  end
end

local EVENTS, NOTIFICATIONS, TIMERS, DEAD, PUSH, RELAY
local GROUPS -- the consumer group that settles each stream
local base, shard, verbosity, settings, now
local ARG, AFTER_HEADER

do
  -- The streams and the timers: KEYS, in this order. `SCRIPT_KEYS` in invites/keys.py is the same list.
  local STREAMS = { 'events', 'notifications', 'timers', 'dead', 'push', 'relay' }

  -- The header: the first of ARGV, in this order: `Header` of invites/store/commit.py, then `Settings` of
  -- invites/store/settings.py. Times are in ms, switches are "1" or "0".
  --
  -- mode       "settle", "take", "fire" or "ask"
  -- base       the beginning of every key of the shard ("invites:{0}:")
  -- shard      the number of the shard; shards: how many there are
  -- clock      ms since 1970; "" for the server's time
  -- verbosity  0 reports warnings, 1 also info facts, 2 also debug facts
  -- push_after after this time a push is sent to devices that have not said that they ring; -1 for never
  -- history    how many ended calls of a user to keep, and for how long: "20 86400000"; "" for none. Few calls need it
  -- look_up    what workers can ask sippo-server for: "" nothing, "push", "groups", "all" (both), "reachability"
  local HEADER = {
    'mode', 'base', 'shard', 'shards', 'clock', 'verbosity', 'remove_after', 'ring_timeout', 'max_ring_timeout',
    'caller_grace', 'retain_after', 'parallel_sip', 'only_one_device_with_invitations', 'ringing_step', 'max_group_size',
    'look_up', 'push_after', 'devices_per_user', 'per_callee', 'per_caller', 'per_pair', 'redial', 'glare',
    'join_accepts', 'room_grace', 'when_busy', 'history',
  }

  -- (The server provides `ipairs` only once the library is loaded.)
  local function places(names)
    local at = {}
    for i = 1, #names do
      at[names[i]] = i
    end
    return at
  end

  local KEY = places(STREAMS)
  ARG, AFTER_HEADER = places(HEADER), #HEADER + 1

  each_call(function()
    EVENTS, NOTIFICATIONS, TIMERS = KEYS[KEY.events], KEYS[KEY.notifications], KEYS[KEY.timers]
    DEAD, PUSH, RELAY = KEYS[KEY.dead], KEYS[KEY.push], KEYS[KEY.relay]
    GROUPS = { [EVENTS] = 'workers', [PUSH] = 'push', [RELAY] = 'relay' }
    base, shard, verbosity = ARGV[ARG.base], ARGV[ARG.shard], tonumber(ARGV[ARG.verbosity])
    settings = {
      remove_after = tonumber(ARGV[ARG.remove_after]),
      ring_timeout = tonumber(ARGV[ARG.ring_timeout]),
      max_ring_timeout = tonumber(ARGV[ARG.max_ring_timeout]),
      caller_grace = tonumber(ARGV[ARG.caller_grace]),
      retain_after = tonumber(ARGV[ARG.retain_after]),
      parallel_sip = ARGV[ARG.parallel_sip] == '1',
      only_one_device_with_invitations = ARGV[ARG.only_one_device_with_invitations] == '1',
      ringing_step = tonumber(ARGV[ARG.ringing_step]),
      max_group_size = tonumber(ARGV[ARG.max_group_size]),
      look_up = ARGV[ARG.look_up],
      push_after = tonumber(ARGV[ARG.push_after]),
      devices_per_user = tonumber(ARGV[ARG.devices_per_user]),
      per_callee = tonumber(ARGV[ARG.per_callee]),
      per_caller = tonumber(ARGV[ARG.per_caller]),
      per_pair = tonumber(ARGV[ARG.per_pair]),
      redial = ARGV[ARG.redial],
      glare = ARGV[ARG.glare],
      join_accepts = ARGV[ARG.join_accepts] == '1',
      room_grace = tonumber(ARGV[ARG.room_grace]),
      when_busy = ARGV[ARG.when_busy],
    }
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

-- Whole numbers as text. (Lua's own conversion has 14 digits, then an exponent.) A call uses the same few numbers
-- often.
local int

do
  local digits

  each_call(function()
    digits = {}
  end)

  function int(number)
    local text = digits[number]
    if not text then
      text = string.format('%d', number)
      digits[number] = text
    end
    return text
  end
end
