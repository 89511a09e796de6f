-- Presence: as which peers the devices of a user are connected. Events about a peer count in the order of their
-- entries, whatever the order of their arrival.
--
-- registry:<user>, trunks  the registrations (see reach/registry.lua)
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
--
-- Of the registrations of a device the latest one stays. An event about a peer makes one difference, nil when a later
-- event has overtaken it. call/presence_changed.lua applies it to invites and calls. It has
--   went      a peer that is gone, with `lost`, the entry since which it is gone, and `how`: "lapsed" (its connection
--             may still exist), "taken" (another user has the peer id), or ""
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

local function save(one)
  remember(key('gone', one.name), cjson.encode(one.mark), lifetimes.order())
end

-- A guest has no registration, and is not known by its end.
local function note_known(user)
  remember(key('known', user), '1', lifetimes.order())
end

-- What is known of a peer: its registration (nil when it has none) and its mark. `found` is its registration, if that
-- has been read.
local function peer_of(user, peer, found)
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

-- Where the entry of the device's last registration is, once that is over.
local function over_of(user, registration)
  return key('gone', user .. (registration.trunk and '|trunk|' or '|device|') .. registration.device)
end

-- Ends the registration of the peer, if it has one. The peer is gone since the entry `lost`. `unseen` as in a mark.
local function forget(one, lost, unseen)
  local old, mark = one.registration, one.mark
  if old then
    if not order.later(mark.since, old.at) then
      mark.since, mark.device, mark.trunk = old.at, old.device, old.trunk
    end
    if old.device and unseen ~= 'replaced' then
      remember(over_of(one.user, old), old.at, lifetimes.order())
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
  save(one)
  if mark.since then
    note_known(one.user)
  end
end

-- The same, and tells others what they must know. Returns the peer.
local function leave(one, lost, how, unseen)
  local user, peer, old, mark = one.user, one.peer, one.registration, one.mark
  one.lost, one.how = lost, how
  forget(one, lost, unseen)
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

-- The entry that has ended the new registration before it came: a later end, or another user has the peer id since.
local function end_of(new, mark)
  local taken = not new.trunk and holders.held_since(new.peer, new.user)
  if order.later(taken, work.entry) then
    marks.note_end(mark, nil, taken)
  end
  return marks.end_after(mark, work.entry, new.session, new.device)
end

local function is_same_device(new, old)
  return old and (old.trunk or false) == new.trunk and old.device == new.device
end

local NONE = {}

-- The other peers that the device is registered as. (It has one registration: none if that is `old`.)
local function others_of_device(new, old)
  local others = NONE
  if new.device and not is_same_device(new, old) then
    for id, found in pairs(new.trunk and trunks.of(new.user) or registry.of(new.user)) do
      if id ~= new.peer and found.device == new.device then
        others = others == NONE and {} or others
        others[#others + 1] = peer_of(new.user, id, found)
      end
    end
  end
  return others
end

-- The entry of a later registration of the device that is over; nil when there is none.
local function has_been_replaced(new, old)
  local later_one = new.device and not is_same_device(new, old) and redis.call('GET', over_of(new.user, new))
  return order.later(later_one, new.at) and later_one or nil
end

-- The registration of the peer is over since the entry `over`, or its device has had a later one since the entry
-- `replaced`: `later_one`, unless that is over.
local function overtake(new, one, over, replaced, others, later_one)
  local mark, change = one.mark, {}
  mark.since, mark.device, mark.trunk = work.entry, new.device, new.trunk or nil
  if not over then
    marks.note_end(mark, '|' .. new.device, replaced)
  end
  local lost = marks.end_after(mark, work.entry, nil, new.device)
  local unseen = not over and lost == replaced and 'replaced' or nil
  if one.registration then
    -- The present registration is an earlier one. This event has replaced it.
    change.went = leave(one, lost, '', unseen)
  else
    if order.later(lost, mark.lost) then
      mark.lost, mark.unseen = lost, unseen
    end
    save(one)
    note_known(new.user)
  end
  if new.device and not replaced then
    remember(over_of(new.user, new), new.at, lifetimes.order())
  end
  local other = others[1] -- (a device has one registration)
  if later_one then
    change.moved = {
      user = new.user, device = new.device, from = new.peer, to = later_one.peer, since = later_one.registration.at,
    }
  elseif other then
    marks.note_end(other.mark, '|' .. new.device, new.at)
    change.former = leave(other, new.at, '', 'replaced')
  end
  return change
end

-- The device has only the new registration. Returns the replaced peer ids, each with the entry of its registration.
local function replace(others)
  local replaced = others == NONE and NONE or {}
  for _, other in ipairs(others) do
    local old = other.registration
    marks.note_end(other.mark, '|' .. old.device, work.entry)
    forget(other, work.entry, 'replaced')
    holders.release(other.peer, other.user, old)
    replaced[other.peer] = old.at
  end
  return replaced
end

local function store(new, one)
  local old, mark, name = one.registration, one.mark, one.name
  away.forget(one.user, one.peer)
  registry.store(new, old)
  one.registration = new
  if next(mark.ends) or mark.lost then
    one.mark = { ends = {} }
    for session, ended in pairs(mark.ends) do
      one.mark.ends[session] = order.later(ended, work.entry) and ended or nil
    end
    if next(one.mark.ends) then
      save(one)
    else
      later({ 'DEL', key('gone', name) })
    end
    later({ 'DEL', key('grace', one.peer) })
    unschedule('grace|' .. name)
    unschedule('caller|' .. name)
  end
  if new.expires then
    schedule('lapse|' .. name, math.min(order.split(work.entry), now) + new.expires)
  elseif old and old.expires then
    unschedule('lapse|' .. name)
  end
end

local function tell_other_shards(new, old, replaced)
  if new.trunk then
    local list = {}
    for id, at in pairs(replaced) do
      list[#list + 1], list[#list + 2] = id, at
    end
    emit_everywhere(new.user, 'trunk_registered', new.user, new.peer, new.raw, new.device or '', new.session or '',
      new.expires and int(new.expires) or '', unpack(list))
  elseif old and old.trunk then
    emit_everywhere(new.user, 'trunk_ended', new.user, new.peer, work.entry, old.at, '{}')
  end
end

-- The registration beyond the limit, once the new one counts: the one that has not been renewed for the longest time,
-- perhaps the new one itself. Returns its peer id, and the latest registration of the others; nil when there is room.
local function beyond_limit(new, old, others)
  local limit = settings.devices_per_user
  if new.trunk or limit == 0 or (old and not old.trunk) or others ~= NONE
    or redis.call('HLEN', key('registry', new.user)) < limit then
    return nil
  end
  local oldest, at, latest
  for id, each in pairs(registry.of(new.user)) do
    if not at or order.later(at, each.at) or (at == each.at and id < oldest) then
      oldest, at = id, each.at
    end
    latest = order.latest(each.at, latest)
  end
  oldest = order.later(at, new.at) and new.peer or oldest
  warn('device_dropped', 'devicesPerUser', new.user, oldest)
  return oldest, latest
end

-- Ends the registration of the device that has made room for another one. Returns the peer.
local function make_room(user, peer)
  local one = peer_of(user, peer)
  marks.note_end(one.mark, nil, work.entry)
  return leave(one, work.entry, 'dropped')
end

-- `new` is a registration of this event: user, peer, `at`, device, session, expires, trunk, and its text (`raw`).
function presence.registered(new)
  local one = peer_of(new.user, new.peer)
  local old, mark = one.registration, one.mark
  local last = old and old.at or mark.since
  if order.later(last, new.at) or (not old and last == new.at) then
    return nil
  end
  local over, others, later_one = end_of(new, mark), others_of_device(new, old), nil
  local replaced = has_been_replaced(new, old)
  for _, other in ipairs(others) do
    if order.later(other.registration.at, new.at) then
      later_one, replaced = other, other.registration.at
    end
  end
  local dropped, latest
  if not over and not replaced then
    dropped, latest = beyond_limit(new, old, others)
    if dropped == new.peer then
      marks.note_end(mark, nil, latest)
      over = latest
    end
  end
  if over or replaced then
    return overtake(new, one, over, replaced, others, later_one)
  end
  local renewed = is_same_device(new, old) and old.session == new.session
  one.fresh = not old or marks.other_session(old.session, new.session)
  one.lost, one.how = mark.lost, mark.unseen
  local former = replace(others)
  store(new, one)
  if not renewed and not new.trunk then
    holders.claim(new.peer, new.user, new.at)
  end
  tell_other_shards(new, old, former)
  return {
    replaced = former, came = not renewed and one or nil, went = dropped and make_room(new.user, dropped) or nil,
  }
end

-- The connection of the peer has ended, or the one with this `session`.
function presence.ended(user, peer, session, device)
  local one = peer_of(user, peer)
  local old, mark = one.registration, one.mark
  if order.later(old and old.at or mark.since, work.entry) then
    return nil
  end
  marks.note_end(mark, session, work.entry)
  mark.device = device or mark.device
  if (old and marks.other_session(old.session, session))
    or (not old and order.later(mark.lost, work.entry)) then
    -- The registration that this ends may still be on its way.
    save(one)
    return nil
  end
  return { went = leave(one, marks.end_after(mark, work.entry) or work.entry, '') }
end

-- The registration has not been renewed by the time `due`. This notes no end: a delayed renewal still counts.
function presence.lapsed(user, peer, due)
  local one = peer_of(user, peer)
  local old, lost = one.registration, int(due) .. '-0'
  if old and old.expires then
    local ended = marks.end_after(one.mark, lost, nil, old.device)
    return { went = leave(one, ended or lost, 'lapsed', not ended and 'lapsed' or nil) }
  end
end

-- Another user has registered the peer id by the entry `since` (see reach/holders.lua).
function presence.taken(user, peer, since)
  local one = peer_of(user, peer)
  local old = one.registration
  if not old or old.trunk then
    return nil
  elseif order.later(old.at, since) then
    holders.claim(peer, user, old.at)
    return nil
  end
  marks.note_end(one.mark, nil, since)
  return { went = leave(one, since, 'taken') }
end

-- The trunk's own shard says: it is gone since the entry `lost`, and its registrations up to the entry `since` are
-- over. The same `ends` as there decide about later registrations. `unseen` as in a mark.
function presence.trunk_ended(user, peer, lost, since, ends, how, unseen)
  local one = peer_of(user, peer)
  local mark = one.mark
  for session, ended in pairs(ends) do
    marks.note_end(mark, session, ended)
  end
  if one.registration and order.later(one.registration.at, since) then
    save(one)
    return nil
  end
  mark.since = order.latest(mark.since, since)
  if order.later(mark.lost, lost) then
    lost, unseen = mark.lost, mark.unseen
  end
  return { went = leave(one, lost, how, unseen) }
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
  local one = peer_of(user, peer)
  one.mark.device = device
  save(one)
end
