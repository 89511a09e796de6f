-- Deletes a consumer that has been idle for long and has no pending entries.
--
-- KEYS     1 the stream
-- ARGV     1 the group, 2 the consumer, 3 the idle time that it must have (ms)
-- Returns  1 when the consumer is deleted, else 0
-- Why atomic deleting a consumer drops its pending entries, so it must have none at that moment
-- include: core/fields

return function(keys, arguments)
  local stream, group, consumer, idle = keys[1], arguments[1], arguments[2], tonumber(arguments[3])
  for _, found in ipairs(redis.call('XINFO', 'CONSUMERS', stream, group)) do
    if field(found, 'name') == consumer and field(found, 'pending') == 0 and field(found, 'idle') >= idle then
      redis.call('XGROUP', 'DELCONSUMER', stream, group, consumer)
      return 1
    end
  end
  return 0
end
