-- Ensures what the workers of a shard need on the server: its layout, their consumer groups, and the key `origin`. It
-- looks first, and writes only what is missing. Then it announces the worker that calls.
--
-- An announcement is a hash of one worker that says when it was last there. The idle time of its consumers does not:
-- Redis before 7.2 does not count reads without entries, and a worker with enough in hand does not read.
--
-- `origin` has an id that the data of the shard got when they began. The id is lost with the data. A worker that
-- knows another id has outlived data; services hear it once (`serverEmptied`), however many workers have.
--
-- KEYS     1 layout, 2 origin, 3 notifications, 4 the announcement, then the streams
-- ARGV     1 the number of the shard, 2 the number of shards, 3 the origin that the worker knows, or ""
--          4 a new id, for data without an origin, 5 how long the announcement is kept (ms)
--          6 the worker's name, 7 its release, 8 since when it works, 9 its last commit (both ms since 1970) or ""
--          then the group of each stream
-- Returns  {the origin, 1 if services were notified else 0, each stream whose group was missing…}
-- Error    "LAYOUT " and the layout, when it differs from the number of shards; the call has touched nothing
-- Why atomic several workers find the same loss at the same moment
-- include: core/fields

local function has_group(stream, name)
  if redis.call('EXISTS', stream) == 0 then
    return false
  end
  for _, group in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
    if field(group, 'name') == name then
      return true
    end
  end
  return false
end

local function announce(name, arguments)
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  redis.call('HSET', name, 'at', string.format('%d', now), 'name', arguments[6], 'release', arguments[7],
    'shards', arguments[2], 'since', arguments[8], 'lastCommit', arguments[9])
  redis.call('PEXPIREAT', name, string.format('%d', now + arguments[5]))
end

return function(keys, arguments)
  local layout, origin, notifications = keys[1], keys[2], keys[3]
  local shard, shards, known, new = arguments[1], arguments[2], arguments[3], arguments[4]

  local found = redis.call('GET', layout)
  if found and found ~= shards then
    return redis.error_reply('LAYOUT ' .. found)
  end
  local id, told = redis.call('HGET', origin, 'id'), redis.call('HGET', origin, 'told')
  local lost = known ~= '' and known ~= id and not told

  if not found then
    redis.call('SET', layout, shards)
  end
  local result = { id or new, lost and 1 or 0 }
  for i = 5, #keys do
    local group = arguments[i + 5]
    if not has_group(keys[i], group) then
      -- From the beginning: events that were published before the group existed are processed too.
      redis.call('XGROUP', 'CREATE', keys[i], group, '0', 'MKSTREAM')
      result[#result + 1] = keys[i]
    end
  end
  if lost then
    redis.call('XADD', notifications, '*', 'id', shard .. '-emptied-' .. result[1], 'type', 'serverEmptied',
      'peers', '[]', 'users', '[]', 'payload', '{"shard":' .. shard .. '}')
    redis.call('HSET', origin, 'told', '1')
  end
  if not id then
    redis.call('HSET', origin, 'id', new)
  end
  announce(keys[4], arguments)
  return result
end
