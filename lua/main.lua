-- Entry of the composed functions: settles a batch of events, takes what other shards tell, or fires due timers, in one shard.
--
-- KEYS     the streams and the timers, all of one hash tag (see core/context.lua); other keys are derived inside that tag
-- ARGV     the header (see core/context.lua), then by its mode
--          settle: the stream of the entries (its place among KEYS); for each entry its rule, its id, the number of
--          its arguments, its arguments
--          take: the shard whose relay stream the entries are from; its low watermark, an entry before which everything
--          is settled there; then entries as for settle
--          fire: the most timers to apply
-- Error    "LAYOUT " and what the key layout says, when that is not so many shards; nothing was touched (see invites/layout.py)
-- Returns  settle, take: {now, next due or "", outcome…}; fire: {now, next due or "", taken, fact…} (see core/commit.lua)
-- include: core/context
-- include: core/commit
-- include: call/direct
-- include: group/groups
-- include: group/legs
-- include: events/*
-- include: timers

return function(keys, arguments)
  begin_call(keys, arguments)

  -- While a slot migrates, a write to a key that does not exist yet fails although the acknowledgement before it
  -- succeeded. Asking for a key that never exists makes such a call fail here, as a whole, before anything is written.
  redis.call('EXISTS', base .. 'never')

  -- Whose shard a name belongs to depends on how many there are. Workers that count otherwise, and all while calls are
  -- moved, can commit nothing: `invites reshard` relies on that alone. (Nothing is there before the first worker has
  -- started.)
  local layout = redis.call('GET', base .. 'layout')
  if layout and layout ~= ARGV[ARG.shards] then
    return redis.error_reply('LAYOUT ' .. layout)
  end

  local mode = ARGV[ARG.mode]
  if mode == 'settle' then
    return settle(tonumber(ARGV[AFTER_HEADER]), AFTER_HEADER + 1)
  elseif mode == 'take' then
    return take(ARGV[AFTER_HEADER], ARGV[AFTER_HEADER + 1], AFTER_HEADER + 2)
  end
  return fire(tonumber(ARGV[AFTER_HEADER]))
end
