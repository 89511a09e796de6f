-- Deletes a consumer that has no pending entries, once its worker has neither read nor announced itself for a long
-- time.
--
-- KEYS     1 the stream, 2 the worker's announcement
-- ARGV     1 the group, 2 the consumer, 3 how long its worker must have been silent (ms)
-- Returns  1 when the consumer is deleted, else 0
-- Why atomic deleting a consumer drops its pending entries, so it must have none at that moment
-- include: core/fields

return function(keys, arguments)
  local stream, group, consumer, silent = keys[1], arguments[1], arguments[2], tonumber(arguments[3])
  local time, announced = redis.call('TIME'), redis.call('HGET', keys[2], 'at')
  if announced and time[1] * 1000 + math.floor(time[2] / 1000) - announced < silent then
    return 0
  end
  for _, found in ipairs(redis.call('XINFO', 'CONSUMERS', stream, group)) do
    if field(found, 'name') == consumer and field(found, 'pending') == 0 and field(found, 'idle') >= silent then
      redis.call('XGROUP', 'DELCONSUMER', stream, group, consumer)
      return 1
    end
  end
  return 0
end
