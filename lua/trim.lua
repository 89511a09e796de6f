-- Trims a stream by what its groups have settled, never by length alone: an entry goes once every group on the stream
-- has it acknowledged. A stream that no group reads keeps its youngest entries.
--
-- KEYS     1 the stream
-- ARGV     1 how many entries to keep while no group reads it ("" to keep all), 2 the most to trim in one call,
--          3 for how long (ms) an entry is of any use ("" for ever); an older one goes whoever has not settled it
-- Returns  how many entries were trimmed
-- Why atomic a group that is made meanwhile must not miss what was there
-- include: core/fields
-- include: core/order

return function(keys, arguments)
  local stream, keep, limit, useful = keys[1], arguments[1], arguments[2], tonumber(arguments[3])
  if redis.call('EXISTS', stream) == 0 then
    return 0
  end

  -- The first entry that somebody still needs.
  local lowest
  for _, group in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
    local needed = redis.call('XPENDING', stream, field(group, 'name'))[2]
    if not needed then
      local ms, seq = string.match(field(group, 'last-delivered-id'), '^(%d+)%-(%d+)$')
      needed = ms .. '-' .. string.format('%.0f', seq + 1)
    end
    if not lowest or order.later(lowest, needed) then
      lowest = needed
    end
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
      -- Whole nodes are gone; what is left of the last one is cheap.
      trimmed = redis.call('XTRIM', stream, 'MINID', '=', lowest)
    end
    return trimmed
  elseif keep ~= '' then
    return redis.call('XTRIM', stream, 'MAXLEN', '~', keep, 'LIMIT', limit)
  end
  return 0
end
