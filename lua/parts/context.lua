-- What holds for the whole call: keys, settings, the server's time.

local EVENTS, NOTIFICATIONS, TIMERS, DEAD, PUSH, RELAY = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]

-- The consumer group that settles each stream.
local GROUPS = { [EVENTS] = 'workers', [PUSH] = 'push', [RELAY] = 'relay' }

local base, shard = ARGV[2], ARGV[3]
local verbosity = tonumber(ARGV[6])
local settings = {
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

local now = tonumber(ARGV[5])
if not now then
  local time = redis.call('TIME')
  now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

local HOUR, DAY = 3600000, 86400000
-- How long an order (who came last) outlives the thing that it orders.
local MEMORY = HOUR

-- Every key of the shard begins with `base`; ids hold no "|", so joined ids stay unambiguous.
local function key(kind, id)
  return base .. kind .. ':' .. id
end

-- Whole numbers as text: Lua's own conversion has 14 digits, then an exponent. A call names few of them, often.
local digits = {}

local function int(number)
  local text = digits[number]
  if not text then
    text = string.format('%d', number)
    digits[number] = text
  end
  return text
end
