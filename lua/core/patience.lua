-- A timer that is due waits for the events that were published up to that time, for a bounded time.
--
-- An accept that came in time must win even if the worker that has read it is frozen, or no worker has read it yet. The
-- consumer group knows both cases. Events in other shards' streams are not waited for.
-- exports: ready_before
-- include: core/unit
-- include: core/fields
-- include: core/order

-- While a timer waits, some worker looks every second or sooner. After a longer break (ms) no worker was running.
local BREAK = 2000

-- The time (ms) of the oldest event that no worker has settled: unread, or pending with any worker. Nil when there is
-- none. A missing group is created again if nothing has been read.
local function oldest_unsettled()
  local pending = redis.pcall('XPENDING', EVENTS, GROUPS[EVENTS], '-', '+', 1)[1]
  local from = '-'
  for _, group in ipairs(redis.pcall('XINFO', 'GROUPS', EVENTS)) do
    if field(group, 'name') == GROUPS[EVENTS] then
      from = '(' .. field(group, 'last-delivered-id')
    end
  end
  local unread = redis.pcall('XRANGE', EVENTS, from, '+', 'COUNT', 1)[1]
  pending, unread = pending and order.split(pending[1]), unread and order.split(unread[1])
  return pending and unread and math.min(pending, unread) or pending or unread
end

-- Timers that are due before the returned time fire, the others wait. `last` is when the last of the due timers is due.
--
-- A timer waits for `patience` ms at most. They count from its time, and after a time without workers from the moment
-- at which one is back. The key `waiting` has the time since which timers wait without a break.
function ready_before(last, patience)
  local oldest = oldest_unsettled()
  if not oldest or oldest > last then
    return math.huge
  end
  local name = base .. 'waiting'
  local found = redis.pcall('GET', name)
  local since = type(found) == 'string' and tonumber(found) or now
  unit.begin('', '0-0')
  remember(name, int(since), now + BREAK)
  unit.write()
  local given_up = now - patience + 1
  return since < given_up and math.max(oldest, given_up) or oldest
end
