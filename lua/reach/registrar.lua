-- Registrations: a device, or a trunk, is connected as a peer. Of the registrations of a device the latest one stays,
-- whatever the order of their arrival.
-- exports: registrar
-- include: core/emit
-- include: core/order
-- include: core/unit
-- include: reach/away
-- include: reach/holders
-- include: reach/marks
-- include: reach/presence
-- include: reach/registry
-- include: reach/trunks

registrar = {}

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
        others[#others + 1] = presence.peer(new.user, id, found)
      end
    end
  end
  return others
end

-- The entry since which the device has had a later registration that is over, too; nil when it has had none.
local function replaced_since(new, old)
  local later_one = new.device and not is_same_device(new, old) and marks.over(new.user, new)
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
    change.went = presence.depart(one, lost, '', unseen)
  else
    if order.later(lost, mark.lost) then
      mark.lost, mark.unseen = lost, unseen
    end
    marks.save(one)
    marks.note_known(new.user)
  end
  if new.device and not replaced then
    marks.note_over(new.user, new)
  end
  local other = others[1] -- (a device has one registration)
  if later_one then
    change.moved = {
      user = new.user, device = new.device, from = new.peer, to = later_one.peer, since = later_one.registration.at,
    }
  elseif other then
    marks.note_end(other.mark, '|' .. new.device, new.at)
    change.former = presence.depart(other, new.at, '', 'replaced')
  end
  return change
end

-- The device has only the new registration. Returns the replaced peer ids, each with the entry of its registration.
local function replace(others)
  local replaced = others == NONE and NONE or {}
  for _, other in ipairs(others) do
    local old = other.registration
    marks.note_end(other.mark, '|' .. old.device, work.entry)
    presence.unregister(other, work.entry, 'replaced')
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
      marks.save(one)
    else
      later({ 'DEL', key('gone', name) })
    end
    away.end_grace(one.user, one.peer)
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
  local one = presence.peer(user, peer)
  marks.note_end(one.mark, nil, work.entry)
  return presence.depart(one, work.entry, 'dropped')
end

-- `new` is a registration of this event: user, peer, `at`, device, session, expires, trunk, and its text (`raw`).
function registrar.register(new)
  local one = presence.peer(new.user, new.peer)
  local old, mark = one.registration, one.mark
  local last = old and old.at or mark.since
  if order.later(last, new.at) or (not old and last == new.at) then
    return nil
  end
  local over, others, later_one = end_of(new, mark), others_of_device(new, old), nil
  local replaced = replaced_since(new, old)
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
