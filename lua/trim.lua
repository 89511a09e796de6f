-- Trims a stream. An entry is removed once every group of the stream has acknowledged it. A stream without groups keeps
-- its newest entries.
--
-- KEYS     1 the stream
-- ARGV     1 how many entries to keep while no group reads the stream ("" keeps all)
--          2 how many entries to trim at most
--          3 how long an entry is useful (ms, "" forever); an older one is removed even unacknowledged
--          4 the entry from which entries stay although they are acknowledged ("" for none)
-- Returns  the number of trimmed entries
-- Why atomic a group that is created meanwhile must not miss entries
-- include: core/fields
-- include: core/order

local LARGEST = '18446744073709551615'

local function successor(number)
  local head, digit, nines = string.match(number, '^(%d-)([0-8]?)(9*)$')
  return head .. (digit == '' and '1' or digit + 1) .. string.rep('0', #nines)
end

-- The id that follows an entry's. The largest id has none, and is returned itself.
local function following(entry)
  local ms, seq = string.match(entry, '^(%d+)%-(%d+)$')
  if seq ~= LARGEST then
    return ms .. '-' .. successor(seq)
  elseif ms ~= LARGEST then
    return successor(ms) .. '-0'
  end
  return entry
end

return function(keys, arguments)
  local stream, keep, limit, useful = keys[1], arguments[1], arguments[2], tonumber(arguments[3])
  local kept_from = arguments[4]
  local first = redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)[1]
  if not first then
    return 0
  end

  -- The first entry that a group still needs. Pending entries that are gone from the stream hold nothing back.
  local lowest
  for _, group in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
    local pending = redis.call('XPENDING', stream, field(group, 'name'), first[1], '+', 1)[1]
    local needed = pending and pending[1] or following(field(group, 'last-delivered-id'))
    if not lowest or order.later(lowest, needed) then
      lowest = needed
    end
  end

  if lowest and kept_from ~= '' and order.later(lowest, kept_from) then
    lowest = kept_from
  end

  if useful then
    local oldest = string.format('%.0f-0', redis.call('TIME')[1] * 1000 - useful)
    if not lowest or order.later(oldest, lowest) then
      lowest = oldest
    end
  end

  if lowest then
    local trimmed = redis.call('XTRIM', stream, 'MINID', '~', lowest, 'LIMIT', limit)
    if trimmed == 0 then
      -- `~` trims whole nodes only. The rest of the last node is cheap.
      trimmed = redis.call('XTRIM', stream, 'MINID', '=', lowest)
    end
    return trimmed
  elseif keep ~= '' then
    return redis.call('XTRIM', stream, 'MAXLEN', '~', keep, 'LIMIT', limit)
  end
  return 0
end
