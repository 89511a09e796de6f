-- Ensures that the server has what the workers of a shard need: its layout, their consumer groups, and the key
-- `origin`. It looks first, and writes only what is missing. Then it announces the calling worker, and says what there
-- is to do: a worker asks an idle shard nothing else.
--
-- An announcement is a hash of one worker that says when it last called. The idle time of its consumers does not:
-- Redis before 7.2 does not count reads without entries, and a worker with enough in hand does not read.
--
-- `origin` has an id that the data of the shard got when they began. The id is lost with the data. A worker that knows
-- another id has outlived the data; services are notified once (`serverEmptied`), by however many workers.
--
-- KEYS     1 layout, 2 origin, 3 notifications, 4 the announcement, 5 timers, 6 dead, then the streams of the workers
-- ARGV     1 the number of the shard, 2 the number of shards, 3 the origin that the worker knows, or ""
--          4 a new id, for data without an origin, 5 how long the announcement is kept (ms)
--          6 the worker's name, 7 its release, 8 since when it works, 9 its last commit (both ms since 1970) or ""
--          10 how many streams, the first ones, must have their group; then the group of each stream
-- Returns  {the origin, 1 if services were notified else 0, now, when the next timer is due (not before now) or ""
--          (both ms since 1970), {streams whose group was missing}, {streams without entries, of which none is
--          pending}, {streams whose group has no pending entries}, {the groups on the notifications}}
-- Error    "LAYOUT " and the layout, when it differs from the number of shards; the call has touched nothing
-- Why atomic several workers find the same loss at the same moment
-- include: core/fields

local FIRST = 7 -- of the streams, among KEYS

-- `ask` is redis.call or redis.pcall: an error in what this worker does not need must not keep it from what it needs.
local function groups_of(stream, ask)
  return redis.call('EXISTS', stream) == 1 and ask('XINFO', 'GROUPS', stream) or {}
end

-- How many entries are pending in a group, nil without the group.
local function pending_in(stream, name, ask)
  for _, group in ipairs(groups_of(stream, ask)) do
    if field(group, 'name') == name then
      return field(group, 'pending')
    end
  end
end

local function announce(name, now, arguments)
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
  local made, empty, settled = {}, {}, {}
  for i = FIRST, #keys do
    local group, needed = arguments[i - FIRST + 11], i - FIRST < tonumber(arguments[10])
    local pending = pending_in(keys[i], group, needed and redis.call or redis.pcall)
    if not pending and needed then
      -- From the beginning: events that were published before the group existed are processed too.
      redis.call('XGROUP', 'CREATE', keys[i], group, '0', 'MKSTREAM')
      made[#made + 1] = keys[i]
      pending = 0
    end
    if pending == 0 then
      settled[#settled + 1] = keys[i]
    end
    if (pending or 0) == 0 and redis.pcall('XLEN', keys[i]) == 0 then
      empty[#empty + 1] = keys[i]
    end
  end
  if lost then
    redis.call('XADD', notifications, '*', 'id', shard .. '-emptied-' .. (id or new), 'type', 'serverEmptied',
      'peers', '[]', 'users', '[]', 'payload', '{"shard":' .. shard .. '}')
    redis.call('HSET', origin, 'told', '1')
  end
  if not id then
    redis.call('HSET', origin, 'id', new)
  end
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  announce(keys[4], now, arguments)

  local groups = {}
  for _, group in ipairs(groups_of(notifications, redis.pcall)) do
    groups[#groups + 1] = field(group, 'name')
  end
  for _, stream in ipairs({ notifications, keys[6] }) do
    if redis.pcall('XLEN', stream) == 0 then
      empty[#empty + 1] = stream
    end
  end
  local timer = redis.pcall('ZRANGE', keys[5], 0, 0, 'WITHSCORES')
  local due = timer[2] or ''
  if timer.err or (timer[2] and tonumber(timer[2]) <= now) then
    due = now -- timers that cannot be read, too: the worker that fires them meets the error
  end
  return { id or new, lost and 1 or 0, now, due, made, empty, settled, groups }
end
