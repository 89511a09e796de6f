-- Entry ids ("ms-seq") decide the order of events. Their arrival does not, since workers overtake each other.

local order = {}

function order.split(entry)
  local ms, seq = string.match(entry, '^(%d+)%-?(%d*)$')
  return tonumber(ms), tonumber(seq) or 0
end

-- An entry id as a score: ms, and the sequence after the decimal point as far as a double holds it.
function order.number(entry)
  local ms, seq = order.split(entry)
  return ms + math.min(seq, 1023) / 1024
end

-- Is entry `a` later than entry `b`? A missing entry (nil, false) is earlier than any.
function order.later(a, b)
  if not a then
    return false
  end
  if not b then
    return true
  end
  local a_ms, a_seq = order.split(a)
  local b_ms, b_seq = order.split(b)
  return a_ms > b_ms or (a_ms == b_ms and a_seq > b_seq)
end
