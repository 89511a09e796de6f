-- Entry of the composed script: settles a batch of events, or fires due timers, of one shard.
--
-- KEYS  1 events, 2 notifications, 3 timers, 4 dead, 5 push, 6 relay (all of one hash tag; what else is touched has
--       names derived inside that tag)
-- ARGV  1 mode: "settle" or "fire"       2 base: what every key of the shard begins with ("invites:{0}:")
--       3 shard number                   4 clock in ms, or "" for the server's
--       5 verbosity: 0, 1 info facts, 2 debug facts
--       6 removeAfter  7 ringTimeout  8 maxRingTimeout  9 callerGrace  10 retainAfter (ms)
--       11 parallelSip  12 onlyOneDeviceWithInvitations ("1" or "0")  13 ringingStep (ms)  14 maxGroupSize
--       15 what workers can look up: "" nothing, "push", "groups", "all" (both), "reachability"
--       settle: 16 the stream that the entries are from: which of the KEYS; then for each entry its handler, entry id,
--       number of arguments, arguments
--       fire: 16 how many timers at the most
-- Returns  settle: {now, next due or "", outcome…}; fire: {now, next due or "", taken, fact…} (see parts/commit.lua)
-- include: parts/context
-- include: parts/commit
-- include: parts/legs
-- include: events/*
-- include: timers/*

-- While a slot migrates, a write to a key that does not exist yet fails although the acknowledgement before it
-- succeeded. Asking for a key that never exists makes such a call fail here, as a whole, before anything is written.
redis.call('EXISTS', base .. 'never')

if ARGV[1] == 'settle' then
  return settle(tonumber(ARGV[16]), 17)
end
return fire(tonumber(ARGV[16]))
