-- The shard of a name (a user, a group, a room): the CRC-32 (as zlib's) of its UTF-8 bytes modulo the number of
-- shards.
-- include: core/context

local own, is_here

do
  -- fakeredis has no `bit`. Speed does not matter there.
  local BITS = {
    bxor = function(a, b)
      local result, place = 0, 1
      a, b = a % 0x100000000, b % 0x100000000
      while a > 0 or b > 0 do
        if a % 2 ~= b % 2 then
          result = result + place
        end
        a, b, place = math.floor(a / 2), math.floor(b / 2), place * 2
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

  -- A call asks for the same few names often.
  local bits, found

  each_shard(function()
    own, bits = tonumber(shard), bit or BITS
  end)

  each_call(function()
    found = shards > 1 and {} or nil
  end)

  local function crc32(text)
    local crc = 0xffffffff
    for i = 1, #text do
      local byte = string.byte(text, i)
      crc = bits.bxor(bits.rshift(crc, 4), HALVES[bits.band(bits.bxor(crc, byte), 15)])
      crc = bits.bxor(bits.rshift(crc, 4), HALVES[bits.band(bits.bxor(crc, bits.rshift(byte, 4)), 15)])
    end
    return bits.bxor(crc, 0xffffffff) % 0x100000000
  end

  function is_here(name)
    if shards == 1 then
      return true
    end
    if not found[name] then
      found[name] = crc32(name) % shards
    end
    return found[name] == own
  end
end
