-- Order is settled by entry ids ("ms-seq"), not by arrival: workers overtake each other.

local order = {}

function order.split(entry)
  local ms, seq = string.match(entry, '^(%d+)%-?(%d*)$')
  return tonumber(ms), tonumber(seq) or 0
end

-- An entry as a number, for scores: ms, and the sequence behind the point, as far as a double holds both.
function order.number(entry)
  local ms, seq = order.split(entry)
  return ms + math.min(seq, 1023) / 1024
end

-- Is entry `a` later than entry `b`? Nothing (nil, false) is earlier than everything.
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
