-- The ends in the mark of a peer (see reach/presence.lua).
-- exports: marks
-- include: core/order

marks = {}

-- Two sessions of a peer differ only if both are named.
function marks.other_session(a, b)
  return a ~= nil and b ~= nil and a ~= b
end

-- Without a limit a mark would grow with each session that ends. A registration that more ends than these have
-- overtaken counts as over, whatever its session.
local MOST_ENDS = 20

local function drop_oldest_end(mark)
  local count, oldest = 0, nil
  for session, entry in pairs(mark.ends) do
    count = count + 1
    if not oldest or order.later(mark.ends[oldest], entry) then
      oldest = session
    end
  end
  if count > MOST_ENDS then
    mark.since = order.latest(mark.since, mark.ends[oldest])
    mark.ends[oldest] = nil
  end
end

-- `whose` is a session, or "|" and a device; nil when the end is that of any registration.
function marks.note_end(mark, whose, entry)
  local known = mark.ends[whose or '']
  if order.later(entry, known) then
    mark.ends[whose or ''] = entry
    if not known then
      drop_oldest_end(mark)
    end
  end
end

-- The last end of a registration: later than it, and of its session or device. nil when there is none.
function marks.end_after(mark, entry, session, device)
  local found
  for whose, ended in pairs(mark.ends) do
    local is_its
    if string.byte(whose) == 124 then
      is_its = string.sub(whose, 2) == device
    else
      is_its = not marks.other_session(whose ~= '' and whose or nil, session)
    end
    if is_its and order.later(ended, entry) and order.later(ended, found) then
      found = ended
    end
  end
  return found
end
