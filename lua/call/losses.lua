-- The pending calls whose inviter's device is lost. Each has its own grace: a device may be lost, make a further call
-- and be lost again.
--
-- missed:<user>  ref -> peer|entry of the loss|when its grace ends; outlives the call (see call/missed.lua); expires
-- exports: losses
-- include: core/order
-- include: core/unit

losses = {}

-- The losses that are known, by ref.
function losses.of(user, refs)
  local values = #refs > 0 and redis.call('HMGET', key('missed', user), unpack(refs)) or {}
  local found = {}
  for i, ref in ipairs(refs) do
    local peer, lost, grace_ends = string.match(values[i] or '', '^([^|]+)|([^|]+)|?(%d*)$')
    found[ref] = peer and { peer = peer, lost = lost, grace_ends = tonumber(grace_ends) }
  end
  return found
end

-- Is the call lost since then, and not heard of again?
function losses.counts(loss, call)
  return loss and loss.peer == call.peer and order.later(loss.lost, call.heard)
end

-- The timer of the peer is due at the end of the first grace of its calls.
function losses.wait(user, peer, grace_ends)
  add('zset', { 'ZADD', TIMERS, 'LT', int(grace_ends), 'caller|' .. user .. '|' .. peer })
end

-- The peer of the call is gone, as its mark says. A further loss prolongs no grace, unless the peer was back meanwhile.
function losses.note(user, ref, call, mark, grace_ends)
  local name, lost, known = key('missed', user), mark.lost, losses.of(user, { ref })[ref]
  if losses.counts(known, call) and known.grace_ends and not order.later(mark.since, known.lost) then
    lost, grace_ends = known.lost, math.min(known.grace_ends, grace_ends)
  end
  add('hash', { 'HSET', name, ref, call.peer .. '|' .. lost .. '|' .. int(grace_ends) })
  expire(name, lifetimes.missed())
  losses.wait(user, call.peer, grace_ends)
end
