-- What holds for one call: keys, settings, the server's time.
--
-- The server makes these functions once and keeps them, with everything that they remember. So what belongs to one call
-- is made anew at its beginning: each part that has such things says how, with `each_call`.

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

each_call(function()
  EVENTS, NOTIFICATIONS, TIMERS, DEAD, PUSH, RELAY = unpack(KEYS)
  GROUPS = { [EVENTS] = 'workers', [PUSH] = 'push', [RELAY] = 'relay' }
  base, shard, verbosity = ARGV[2], ARGV[3], tonumber(ARGV[6])
  settings = {
    remove_after = tonumber(ARGV[7]),
    ring_timeout = tonumber(ARGV[8]),
    max_ring_timeout = tonumber(ARGV[9]),
    caller_grace = tonumber(ARGV[10]),
    retain_after = tonumber(ARGV[11]),
    parallel_sip = ARGV[12] == '1',
    only_one_device = ARGV[13] == '1',
    ringing_step = tonumber(ARGV[14]),
    max_group_size = tonumber(ARGV[15]),
    look_up = ARGV[16],
  }
  now = tonumber(ARGV[5])
  if not now then
    local time = redis.call('TIME')
    now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
  end
end)

local HOUR, DAY = 3600000, 86400000
-- How long an order (who came last) outlives the thing that it orders.
local MEMORY = HOUR

-- Every key of the shard begins with `base`; ids hold no "|", so joined ids stay unambiguous.
local function key(kind, id)
  return base .. kind .. ':' .. id
end

-- Whole numbers as text: Lua's own conversion has 14 digits, then an exponent. A call names few of them, often.
local digits

each_call(function()
  digits = {}
end)

local function int(number)
  local text = digits[number]
  if not text then
    text = string.format('%d', number)
    digits[number] = text
  end
  return text
end
