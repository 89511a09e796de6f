-- Marks: what stays of a registration that is over, since events about it may still come.
--
-- gone:<user>|<peer>       the mark of a peer; expires. JSON:
--   since   registrations up to this entry are over
--   ends    session ("" for none) -> the entry of its last end; "|" and a device -> the entry since which that device
--           has another peer id
--   lost    the entry since which the peer is gone; nil while it is registered, or an end waits for its registration
--   unseen  why no event has said that its connection ended by then: "lapsed", or "replaced" by the device; else nil
--   device  the device of the last registration, or that the peer has named in an event
--   trunk   true if the last registration is a trunk's
-- gone:<user>|device|<device>, gone:<user>|trunk|<device>
--                          the entry of the device's last registration, once that is over; expires
-- known:<user>             a registration of the user has ended; expires
-- exports: marks
-- include: core/order
-- include: core/unit

marks = {}

-- `one` is what is known of a peer (see reach/presence.lua).
function marks.save(one)
  remember(key('gone', one.name), cjson.encode(one.mark), lifetimes.order())
end

-- A guest has no registration, and is not known by its end.
function marks.note_known(user)
  remember(key('known', user), '1', lifetimes.order())
end

local function over_of(user, registration)
  return key('gone', user .. (registration.trunk and '|trunk|' or '|device|') .. registration.device)
end

-- The entry of the device's last registration, if that is over.
function marks.over(user, registration)
  return redis.call('GET', over_of(user, registration))
end

function marks.note_over(user, registration)
  remember(over_of(user, registration), registration.at, lifetimes.order())
end

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
