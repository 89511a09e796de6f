-- Entry of the composed functions: settles a batch of events, takes what other shards tell, or fires due timers, in one shard.
--
-- KEYS  1 events, 2 notifications, 3 timers, 4 dead, 5 push, 6 relay (all of one hash tag; what else is touched has
--       names derived inside that tag)
-- ARGV  1 mode: "settle", "take" or "fire"   2 base: what every key of the shard begins with ("invites:{0}:")
--       3 number of the shard            4 how many shards there are
--       5 clock in ms, or "" for the server's
--       6 verbosity: 0, 1 info facts, 2 debug facts
--       7 removeAfter  8 ringTimeout  9 maxRingTimeout  10 callerGrace  11 retainAfter (ms)
--       12 parallelSip  13 onlyOneDeviceWithInvitations ("1" or "0")  14 ringingStep (ms)  15 maxGroupSize
--       16 what workers can look up: "" nothing, "push", "groups", "all" (both), "reachability"
--       settle: 17 the stream that the entries are from: which of the KEYS; then for each entry its handler, entry id,
--       number of arguments, arguments
--       take: 17 the shard whose relay stream the entries are from; 18 the entry of it before which all is settled there; then
--       as for settle
--       fire: 17 how many timers at the most
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
  if layout and layout ~= ARGV[4] then
    return redis.error_reply('LAYOUT ' .. layout)
  end

  if ARGV[1] == 'settle' then
    return settle(tonumber(ARGV[17]), 18)
  elseif ARGV[1] == 'take' then
    return take(ARGV[17], ARGV[18], 19)
  end
  return fire(tonumber(ARGV[17]))
end
