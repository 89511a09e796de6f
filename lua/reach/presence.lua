-- Presence: which peers are gone, since when, and whose device they are.
--
-- gone:<user>|<peer>  the mark of a peer whose registration is over (see `presence.mark_of`); expires
-- known:<user>        a registration of the user has ended; expires
-- exports: presence
-- include: core/unit
-- include: core/order
-- include: reach/registry

presence = {}

function presence.gone(user, peer)
  local raw = redis.call('GET', key('gone', user .. '|' .. peer))
  return raw and cjson.decode(raw) or nil
end

-- Adds the peers that are connected at sippo-server and not registered here. Only their ids are known. `since` is the
-- entry of the invite for which a worker has asked sippo-server.
function presence.add_connected_at_sippo(candidates, user, peers, caller, since)
  local present = { [caller] = true }
  for _, candidate in ipairs(candidates) do
    present[candidate.id] = true
  end
  for _, id in ipairs(peers or {}) do
    -- A peer that has gone after that entry would never be removed.
    local ended = not present[id] and presence.gone(user, id)
    if not present[id] and not (ended and order.later(ended.lost, since)) then
      present[id] = true
      candidates[#candidates + 1] = registry.candidate(id, user, {})
    end
  end
end

-- The new peer id of the device of a peer that is gone, or of `device`, and the entry of its registration.
function presence.back_as(user, peer, device)
  local ended = not device and presence.gone(user, peer)
  device = device or (ended and ended.device)
  if device then
    for _, place in ipairs({ registry.of(user), trunks.of(user) }) do
      for id, found in pairs(place) do
        if id ~= peer and found.device == device then
          return id, found.at
        end
      end
    end
  end
end

-- Two sessions of a peer differ only if both are named.
function presence.other_session(a, b)
  return a ~= nil and b ~= nil and a ~= b
end

-- The mark of a peer. Its events count in the order of their entries, whatever the order of their arrival. So the
-- mark keeps the last registration and the later ends.
--   since   registrations up to this entry are over
--   ends    session ("" for none) -> the entry of its last end
--   lost    the entry since which the peer is gone; nil while it is registered, or an end waits for its registration
--   device  the device of the last registration, or that the peer has named in an event
function presence.mark_of(user, peer)
  return presence.gone(user, peer) or { ends = {} }
end

function presence.save(user, peer, mark)
  remember(key('gone', user .. '|' .. peer), cjson.encode(mark), lifetimes.order())
end

-- A guest has no registration, and is not known by its end.
function presence.note_known(user)
  remember(key('known', user), '1', lifetimes.order())
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

function presence.note_end(mark, session, entry)
  local known = mark.ends[session or '']
  if order.later(entry, known) then
    mark.ends[session or ''] = entry
    if not known then
      drop_oldest_end(mark)
    end
  end
end

-- The last end of a registration: later than it, and of its session. nil when there is none.
function presence.end_after(mark, entry, session)
  local found
  for named, ended in pairs(mark.ends) do
    if order.later(ended, entry) and not presence.other_session(named ~= '' and named or nil, session)
      and order.later(ended, found) then
      found = ended
    end
  end
  return found
end

-- Ends the peer's registration `old`, if it has one. The peer is gone since the entry `lost`.
function presence.forget(user, peer, old, mark, lost)
  if old then
    if not order.later(mark.since, old.at) then
      mark.since, mark.device = old.at, old.device
    end
    if old.trunk then
      trunks.remove(user, peer, old)
      -- The loss of this trunk may call another one, or another leg, in the same commit.
      work.lost_trunk = user .. '|' .. peer
      later({ 'SET', trunks.version, work.origin })
    else
      later({ 'HDEL', key('registry', user), peer })
    end
    if old.expires then
      unschedule('lapse|' .. user .. '|' .. peer)
    end
  end
  mark.lost = lost
  presence.save(user, peer, mark)
  if mark.since then
    presence.note_known(user)
  end
end
