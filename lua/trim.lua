-- Trims a stream. An entry goes once every group of the stream has acknowledged it. A stream without groups keeps its
-- youngest entries.
--
-- KEYS     1 the stream
-- ARGV     1 how many entries to keep while no group reads the stream ("" keeps all)
--          2 how many entries to trim at most
--          3 how long an entry is useful (ms, "" for ever); an older one goes even if a group has not acknowledged it
-- Returns  the number of trimmed entries
-- Why atomic a group that is created meanwhile must not miss entries
-- include: core/fields
-- include: core/order

return function(keys, arguments)
  local stream, keep, limit, useful = keys[1], arguments[1], arguments[2], tonumber(arguments[3])
  if redis.call('EXISTS', stream) == 0 then
    return 0
  end

  -- The first entry that a group still needs.
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
      -- `~` trims whole nodes only. The rest of the last node is cheap.
      trimmed = redis.call('XTRIM', stream, 'MINID', '=', lowest)
    end
    return trimmed
  elseif keep ~= '' then
    return redis.call('XTRIM', stream, 'MAXLEN', '~', keep, 'LIMIT', limit)
  end
  return 0
end
