-- The shard of a name (a user, a group, a room): the CRC-32 (as zlib's) of its UTF-8 bytes modulo the number of
-- shards.
-- include: core/context
-- exports: own, shard_of, is_here

-- The limit of known names.
local MOST = 2000

-- fakeredis has no `bit`. Speed does not matter there.
local BITS = {
  bxor = function(...)
    local result = 0
    for _, number in ipairs({ ... }) do
      local a, b, place = result % 0x100000000, number % 0x100000000, 1
      result = 0
      while a > 0 or b > 0 do
        if a % 2 ~= b % 2 then
          result = result + place
        end
        a, b, place = math.floor(a / 2), math.floor(b / 2), place * 2
      end
    end
    return result
  end,
  band = function(a, mask) return a % (mask + 1) end,
  rshift = function(a, count) return math.floor(a % 0x100000000 / 2 ^ count) end,
}

-- The CRC-32 table of half bytes.
local HALVES = {
  [0] = 0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4, 0x4db26158, 0x5005713c,
  0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c, 0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c,
}

local bits

-- What a byte does to the CRC-32 when 0 to 3 more bytes come behind it. A script has them for one call, so they fill as needed.
local T0, T1, T2, T3

local function filled_by(compute)
  return setmetatable({}, { __index = function(known, byte)
    local crc = compute(byte)
    known[byte] = crc
    return crc
  end })
end

local function make_tables()
  local bxor, band, rshift = bits.bxor, bits.band, bits.rshift
  local function half(crc)
    return bxor(rshift(crc, 4), HALVES[band(crc, 15)])
  end
  local function after(before)
    return filled_by(function(byte)
      local crc = before[byte]
      return bxor(rshift(crc, 8), T0[band(crc, 255)])
    end)
  end
  T0 = filled_by(function(byte)
    return half(half(byte))
  end)
  T1 = after(T0)
  T2 = after(T1)
  T3 = after(T2)
end

-- Four bytes at a time: each call of a function costs.
local function crc32(text)
  local bxor, band, rshift, byte = bits.bxor, bits.band, bits.rshift, string.byte
  local crc, rest = 0xffffffff, #text % 4
  for i = 1, #text - rest, 4 do
    local a, b, c, d = byte(text, i, i + 3)
    crc = bxor(crc, a + b * 0x100 + c * 0x10000 + d * 0x1000000)
    crc = bxor(T3[band(crc, 255)], T2[band(rshift(crc, 8), 255)], T1[band(rshift(crc, 16), 255)], T0[rshift(crc, 24)])
  end
  for i = #text - rest + 1, #text do
    crc = bxor(rshift(crc, 8), T0[band(bxor(crc, byte(text, i)), 255)])
  end
  return bxor(crc, 0xffffffff) % 0x100000000
end

-- The shards of names, while there are `among` shards: a call asks for the same few often, and so do the next ones.
local known, count, among

each_shard(function()
  own = tonumber(shard)
  if not bits then
    bits = bit or BITS
    make_tables()
  end
end)

each_call(function()
  if among ~= shards or count > MOST then
    known, count, among = {}, 0, shards
  end
end)

function shard_of(name)
  local found = known[name]
  if not found then
    found = crc32(name) % shards
    known[name], count = found, count + 1
  end
  return found
end

function is_here(name)
  return shards == 1 or shard_of(name) == own
end
