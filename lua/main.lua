-- The entry of the state machine: settles a batch of events, takes the messages of other shards, fires due timers,
-- or asks for permissions.
--
-- KEYS     the streams and the timers of one shard (see core/context.lua); all other keys have names inside the same
--          hash tag
-- ARGV     the header (see core/context.lua), then for each mode
--          settle  the place of the entries' stream among KEYS; for each entry its rule (and, after a space, its
--                  traceparent, if it has one), its id, the number of its arguments, its arguments
--          take    the shard that relays the entries; the low watermark of its relay stream: that shard has settled
--                  every entry before it; then the entries as for settle
--          fire    how many timers to apply at most; for how long (ms) a timer waits for events (see core/patience.lua)
--          ask     nothing
-- Returns  settle, take: {now, next due or "", us that it took, measures, outcome…} (see core/commit.lua, core/unit.lua);
--                        if all outcomes are numbers, one text: now, next due or "", us that it took, and the outcomes in
--                        a row, with a space between them; then a line break and the measures. On a server that cannot
--                        tell what it took that is 0
--          fire: {now, when to fire again or "", measures, number of timers, fact…}
--          ask: the commands that the ACL denies this user; nil when the server cannot say
-- Errors   "DENIED " and commands, when the ACL denies them (see core/permissions.lua)
--          "LAYOUT " and the value of the key `layout`, when it differs from the worker's number of shards; the call
--          has touched nothing (see invites/store/layout.py)
-- include: core/context
-- include: core/commit
-- include: call/direct
-- include: group/groups
-- include: group/from_legs
-- include: group/legs
-- include: group/from_group
-- include: events/*
-- include: timers

return function(keys, arguments)
  local mode, first = begin_call(keys, arguments)

  -- While a slot migrates, XACK succeeds and a later write to a new key fails. Asking for a key that never exists
  -- makes the whole call fail here, before it writes anything.
  local owed = redis.call('EXISTS', base .. 'never', base .. 'owed')

  -- The number of shards decides which shard a name belongs to. A worker configured with another number cannot
  -- commit, and no worker can while `invites reshard` moves keys. (The first worker that starts writes the key.)
  local layout = redis.call('GET', base .. 'layout')
  if layout and layout ~= digits[shards] then
    return redis.error_reply('LAYOUT ' .. layout)
  end

  if mode == 'ask' then
    return permissions.denied_writes()
  end
  if owed > 0 then
    permissions.pay()
  end
  permissions.ask()
  if mode == 'settle' then
    return commit.settle(tonumber(ARGV[first]), first + 1)
  elseif mode == 'take' then
    return commit.take(ARGV[first], ARGV[first + 1], first + 2)
  end
  return commit.fire(tonumber(ARGV[first]), tonumber(ARGV[first + 1]))
end
