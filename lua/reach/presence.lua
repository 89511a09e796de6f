-- Presence: as which peers the devices of a user are connected. Events about a peer count in the order of their
-- entries, whatever the order of their arrival.
--
-- registry:<user>, trunks  the registrations (see reach/registry.lua)
-- gone:…, known:<user>     the marks (see reach/marks.lua)
--
-- An event about a peer makes one difference, nil when a later event has overtaken it. The functions of the events
-- (those of registrations are in reach/registrar.lua) return it, and call/presence_changed.lua applies it to invites and
-- calls. It has
--   went      a peer that is gone, with `lost`, the entry since which it is gone, and `how`: "lapsed" (its connection
--             may still exist), "taken" (another user has the peer id), "dropped" (it has made room), or ""
--   came      a peer that is there, with its `registration`, `fresh` (it is another connection than before), and `lost`
--             and `how` (`unseen`) of its mark. It has the calls of its device from now on. A renewal has neither
--   moved     the calls that a device has made before continue: its `user`, its `device`, the peer id `to` that it has
--             `since` that entry; only those of the peer `from`, if that is given
--   replaced  the peer ids that the registration has replaced, each with the entry of its registration
--   former    the peer that a registration would have replaced that is over itself; as `went`
-- exports: presence
-- include: core/emit
-- include: core/order
-- include: core/unit
-- include: reach/away
-- include: reach/holders
-- include: reach/marks
-- include: reach/registry
-- include: reach/trunks

presence = {}

-- The mark of the peer: of one that is gone, `lost` and `device` are known. Nil when there is none.
function presence.left(user, peer)
  local name, peers = user .. '|' .. peer, work.peers
  if peers and peers[name] then
    return peers[name].mark
  end
  name = key('gone', name)
  local raw = name ~= work.absent and redis.call('GET', name)
  return raw and cjson.decode(raw) or nil
end

-- What is known of a peer: its registration (nil when it has none) and its mark. `found` is its registration, if that
-- has been read.
function presence.peer(user, peer, found)
  local name, peers = user .. '|' .. peer, work.peers
  local one = peers and peers[name]
  if not one then
    one = {
      name = name, user = user, peer = peer, registration = found or registry.find(user, peer),
      mark = presence.left(user, peer) or { ends = {} }, lost = nil, how = nil, fresh = nil,
    }
    if peers then
      peers[name] = one
    else
      work.peers = { [name] = one }
    end
  end
  return one
end

-- The peer id as which the device of the peer is connected, and the entry of its registration; nil when it is not.
-- `device` is the one that the peer names.
function presence.now(user, peer, device)
  local own = registry.find(user, peer)
  if own then
    return peer, own.at
  end
  local mark = not device and presence.left(user, peer)
  device = device or (mark and mark.device)
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

-- Adds the peers that are connected at sippo-server and not registered here. Only their ids are known. `since` is the
-- entry of the invite for which a worker has asked sippo-server.
function presence.add_connected_at_sippo(candidates, user, peers, caller, since)
  local present = { [caller] = true }
  for _, candidate in ipairs(candidates) do
    present[candidate.id] = true
  end
  for _, id in ipairs(peers or {}) do
    -- A peer that has gone after that entry would never be removed.
    local ended = not present[id] and presence.left(user, id)
    if not present[id] and not (ended and order.later(ended.lost, since)) then
      present[id] = true
      candidates[#candidates + 1] = registry.candidate(id, user, {})
    end
  end
end

-- Ends the registration of the peer, if it has one. The peer is gone since the entry `lost`. `unseen` as in a mark.
function presence.unregister(one, lost, unseen)
  local old, mark = one.registration, one.mark
  if old then
    if not order.later(mark.since, old.at) then
      mark.since, mark.device, mark.trunk = old.at, old.device, old.trunk
    end
    if old.device and unseen ~= 'replaced' then
      marks.note_over(one.user, old)
    end
    registry.remove(one.user, one.peer, old)
    one.registration = nil
    if old.expires then
      unschedule('lapse|' .. one.name)
    end
  end
  mark.lost = lost
  if unseen or mark.unseen then
    mark.unseen = unseen
  end
  marks.save(one)
  if mark.since then
    marks.note_known(one.user)
  end
end

-- Unregisters the peer, and tells others what they must know. Returns the peer.
function presence.depart(one, lost, how, unseen)
  local user, peer, old, mark = one.user, one.peer, one.registration, one.mark
  one.lost, one.how = lost, how
  presence.unregister(one, lost, unseen)
  if how ~= 'taken' then
    holders.release(peer, user, old)
  end
  -- (A trunk that has lapsed may still ring.)
  if (old or mark).trunk then
    emit_everywhere(user, 'trunk_ended', user, peer, lost, mark.since, cjson.encode(mark.ends), how)
  end
  if how == '' then
    away.note(user, peer, old)
  end
  return one
end

-- The connection of the peer has ended, or the one with this `session`.
function presence.ended(user, peer, session, device)
  local one = presence.peer(user, peer)
  local old, mark = one.registration, one.mark
  if order.later(old and old.at or mark.since, work.entry) then
    return nil
  end
  marks.note_end(mark, session, work.entry)
  mark.device = device or mark.device
  if (old and marks.other_session(old.session, session))
    or (not old and order.later(mark.lost, work.entry)) then
    -- The registration that this ends may still be on its way.
    marks.save(one)
    return nil
  end
  return { went = presence.depart(one, marks.end_after(mark, work.entry) or work.entry, '') }
end

-- The registration has not been renewed by the time `due`. This notes no end: a delayed renewal still counts.
function presence.lapsed(user, peer, due)
  local one = presence.peer(user, peer)
  local old, lost = one.registration, int(due) .. '-0'
  if old and old.expires then
    local ended = marks.end_after(one.mark, lost, nil, old.device)
    return { went = presence.depart(one, ended or lost, 'lapsed', not ended and 'lapsed' or nil) }
  end
end

-- Another user has registered the peer id by the entry `since` (see reach/holders.lua).
function presence.taken(user, peer, since)
  local one = presence.peer(user, peer)
  local old = one.registration
  if not old or old.trunk then
    return nil
  elseif order.later(old.at, since) then
    holders.claim(peer, user, old.at)
    return nil
  end
  marks.note_end(one.mark, nil, since)
  return { went = presence.depart(one, since, 'taken') }
end

-- The trunk's own shard says: it is gone since the entry `lost`, and its registrations up to the entry `since` are
-- over. The same `ends` as there decide about later registrations. `unseen` as in a mark.
function presence.trunk_ended(user, peer, lost, since, ends, how, unseen)
  local one = presence.peer(user, peer)
  local mark = one.mark
  for session, ended in pairs(ends) do
    marks.note_end(mark, session, ended)
  end
  if one.registration and order.later(one.registration.at, since) then
    marks.save(one)
    return nil
  end
  mark.since = order.latest(mark.since, since)
  if order.later(mark.lost, lost) then
    lost, unseen = mark.lost, mark.unseen
  end
  return { went = presence.depart(one, lost, how, unseen) }
end

-- The peer, perhaps a guest, names this device.
function presence.spoke(user, peer, device)
  local mark = presence.left(user, peer)
  if mark and order.later(mark.lost, work.entry) then
    return nil
  end
  return { moved = { user = user, device = device, to = peer, since = work.entry } }
end

-- Remembers the device of a peer that has sent an event.
function presence.note_device(user, peer, device)
  local one = presence.peer(user, peer)
  one.mark.device = device
  marks.save(one)
end
