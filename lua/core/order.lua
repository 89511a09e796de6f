-- Entry ids ("ms-seq") decide the order of events. Their arrival does not, since workers overtake each other.
--
-- Each shard's server makes its own ids by its own clock. The clocks may differ by up to `TOLERANCE` ms; `invites check`
-- compares them (`TOLERANCE_MS` in workers/cli/check/clocks.py is the same number).

local order = {}

order.TOLERANCE = 5000

function order.split(entry)
  local ms, seq = string.match(entry, '^(%d+)%-?(%d*)$')
  return tonumber(ms), tonumber(seq) or 0
end

-- When the entry was made (ms since 1970).
function order.time(entry)
  return tonumber(string.match(entry, '^%d+'))
end

-- An entry id as a score: ms, and the sequence after the decimal point as far as a double holds it.
function order.number(entry)
  local ms, seq = order.split(entry)
  return ms + math.min(seq, 1023) / 1024
end

-- Is the number `a` larger than `b`, both as decimal text? A double cannot hold the 64 bits of each part of an id.
function order.larger(a, b)
  return #a > #b or (#a == #b and a > b)
end

-- Is entry `a` later than entry `b`? A missing entry (nil, false) is earlier than any.
function order.later(a, b)
  if not a then
    return false
  end
  if not b then
    return true
  end
  local a_ms, a_seq = string.match(a, '^(%d+)%-?(%d*)$')
  local b_ms, b_seq = string.match(b, '^(%d+)%-?(%d*)$')
  if a_ms ~= b_ms then
    return order.larger(a_ms, b_ms)
  end
  return order.larger(a_seq ~= '' and a_seq or '0', b_seq ~= '' and b_seq or '0')
end

-- The later of two entries.
function order.latest(a, b)
  return order.later(a, b) and a or b
end

-- Any id that another shard's server may have given by the time of this entry.
function order.with_tolerance(entry)
  return string.format('%d-0', order.split(entry) + order.TOLERANCE)
end
