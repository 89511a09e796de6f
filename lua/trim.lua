-- Trims a stream by what its groups have settled, never by length alone: an entry goes once every group on the stream
-- has it acknowledged. A stream that no group reads keeps its youngest entries.
--
-- KEYS     1 the stream
-- ARGV     1 how many entries to keep while no group reads it ("" to keep all), 2 the most to trim in one call,
--          3 for how long (ms) an entry is of any use ("" for ever); an older one goes whoever has not settled it
-- Returns  how many entries were trimmed
-- Why atomic a group that is made meanwhile must not miss what was there

local function field(flat, name)
  for i = 1, #flat, 2 do
    if flat[i] == name then
      return flat[i + 1]
    end
  end
end

local function split(entry)
  local ms, seq = string.match(entry, '^(%d+)%-(%d+)$')
  return tonumber(ms), tonumber(seq), ms
end

local function before(a, b)
  local a_ms, a_seq = split(a)
  local b_ms, b_seq = split(b)
  return a_ms < b_ms or (a_ms == b_ms and a_seq < b_seq)
end

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
      local _, seq, ms = split(field(group, 'last-delivered-id'))
      needed = ms .. '-' .. string.format('%.0f', seq + 1)
    end
    if not lowest or before(needed, lowest) then
      lowest = needed
    end
  end

  if useful then
    local oldest = string.format('%.0f-0', redis.call('TIME')[1] * 1000 - useful)
    if not lowest or before(lowest, oldest) then
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
