-- registered: a device of a user, or a trunk, can be reached. It rings for each pending invite with the remaining
-- time. A device that comes back rings again, or hears that its ringing is over.
--
-- Arguments  registry (the stored registration, JSON); device, session ("" where none is given); expires (ms or "");
--            trunk ("1" or "0")
-- Reads      the peer's registration and end, the user's registrations, pending, lately ended and own invites
-- Why atomic a concurrent invite sees the registration, or the registration sees the invite
-- include: core/commit
-- include: reach/away
-- include: reach/presence
-- include: reach/registry
-- include: call/callers
-- include: call/indexes
-- include: call/loss
-- include: call/taken
-- include: out/devices
-- include: call/pages

-- The registrations of the same device under other peer ids, by peer id.
local function others_of_device(new)
  local others = {}
  if new.device then
    for id, found in pairs(new.trunk and trunks.of(new.user) or registry.of(new.user)) do
      if id ~= new.peer and found.device == new.device then
        others[id] = found
      end
    end
  end
  return others
end

-- The device has been registered as `peer` since `entry`. That peer continues the calls that this one has made
-- before.
local function hand_over_calls(new, peer, entry)
  every('calls', new.user, 'handed_over', new.peer, peer, entry)
end

function pages.handed_over(user, refs, from, to, entry)
  for ref, call in pairs(some_calls(user, refs)) do
    if call.peer == from and order.later(entry, call.heard) then
      move_call(user, ref, to, call)
    end
  end
end

-- Returns true when a later event has registered the peer or ended it.
local function outdated(new, old, mark)
  local last = old and old.at or mark.since
  if order.later(last, work.entry) or (not old and last == work.entry) then
    return true
  end
  local taken = not new.trunk and holders.held_since(new.peer, new.user)
  if order.later(taken, work.entry) then
    presence.note_end(mark, nil, taken)
  end
  local ended = presence.end_after(mark, work.entry, new.session)
  if not ended then
    return false
  end
  mark.since, mark.device = work.entry, new.device
  if old then
    -- The end has overtaken this registration and was taken for another session's. The old session is replaced, and
    -- over.
    lose(new.peer, new.user, old, mark, ended)
  else
    presence.save(new.user, new.peer, mark)
    presence.note_known(new.user)
  end
  for id, found in pairs(others_of_device(new)) do
    if order.later(found.at, work.entry) then
      hand_over_calls(new, id, found.at)
    end
  end
  return true
end

-- The device is back under a new peer id, and its old registrations end. Returns false when a later registration of
-- the device has come first.
local function replace_same_device(new, own_mark)
  for id, found in pairs(others_of_device(new)) do
    if order.later(found.at, work.entry) then
      own_mark.since, own_mark.device, own_mark.lost = work.entry, new.device, found.at
      presence.note_end(own_mark, nil, found.at)
      presence.save(new.user, new.peer, own_mark)
      hand_over_calls(new, id, found.at)
      return false
    end
    local mark = presence.mark_of(new.user, id)
    presence.note_end(mark, nil, work.entry)
    presence.forget(new.user, id, found, mark, work.entry)
    holders.release(id, new.user, found)
    new.replaced[id] = found.at
  end
  return true
end

local function store(new, old, mark)
  away.forget(new.user, new.peer)
  if new.trunk then
    trunks.store(new, old)
    if old and not old.trunk then
      later({ 'HDEL', key('registry', new.user), new.peer })
    end
  else
    add('hash', { 'HSET', key('registry', new.user), new.peer, new.raw })
    if old and old.trunk then
      trunks.remove(new.user, new.peer, old)
    end
  end
  if new.trunk or (old and old.trunk) then
    later({ 'SET', trunks.version, work.entry })
  end
  if next(mark.ends) or mark.lost then
    local ends = {}
    for session, ended in pairs(mark.ends) do
      ends[session] = order.later(ended, work.entry) and ended or nil
    end
    if next(ends) then
      presence.save(new.user, new.peer, { ends = ends })
    else
      later({ 'DEL', key('gone', new.user .. '|' .. new.peer) })
    end
    later({ 'DEL', key('grace', new.peer) })
    unschedule('grace|' .. new.user .. '|' .. new.peer)
    unschedule('caller|' .. new.user .. '|' .. new.peer)
  end
  local lapse = 'lapse|' .. new.user .. '|' .. new.peer
  if new.expires then
    schedule(lapse, math.min(order.split(work.entry), now) + new.expires)
  elseif old and old.expires then
    unschedule(lapse)
  end
end

-- The candidate's device, to be told over the connection `peer`.
local function connection(candidate, peer)
  return {
    id = peer, address = candidate.address, type = candidate.type ~= 'PUSH' and candidate.type or 'PEER',
    state = candidate.state, user = candidate.user,
  }
end

local LIVE = { CALLED = true, RINGING = true }

-- The device has this peer id alone from now on. A connection that it replaces stops ringing.
local function take_over(invite, candidate, new)
  local function end_grace(peer)
    later({ 'DEL', key('grace', peer) })
    unschedule('grace|' .. new.user .. '|' .. peer)
  end
  local replaced = {}
  for _, other in pairs(candidates_of(invite)) do
    if other ~= candidate and new.device and other.device == new.device and owner(other) == new.user then
      remove_candidate(invite, other)
      candidate.silenced = candidate.silenced or other.silenced
      end_grace(other.id)
      replaced[#replaced + 1] = LIVE[other.state] and connection(other, other.id) or nil
    end
  end
  if candidate.id ~= new.peer then
    end_grace(candidate.id)
    replaced[#replaced + 1] = LIVE[candidate.state] and connection(candidate, candidate.id) or nil
  elseif candidate.state == 'AWAY' then
    unschedule('grace|' .. new.user .. '|' .. candidate.id)
  end
  rename_candidate(invite, candidate, new.peer)
  candidate.device = new.device or candidate.device
  candidate.session = new.session
  candidate.also = nil
  touch(invite, candidate)
  cancel(invite, replaced, '480', 'taken_over')
end

-- Has the device been rung over a connection, or by a push?
local function may_have_heard(candidate)
  return not candidate.unheard or (candidate.type == 'PUSH' and candidate.state ~= 'GONE')
end

local OUT_BY_CHOICE = { DECLINED = true, REJECTED = true }

-- A device that comes back after its ringing has ended hears why, once.
local function tell_end(invite, new)
  local candidate = candidate_of_device(invite, new.user, new.peer, new.device)
  local winner = candidates_of(invite)[invite.acceptedBy]
  if not new.fresh or (winner and new.device and winner.device == new.device) then
    return
  end
  if candidate and not candidate.told and LATE[candidate.state] and may_have_heard(candidate) then
    candidate.told = true
    touch(invite, candidate)
    cancel(invite, { connection(candidate, new.peer) }, cancel_words(invite, candidate))
  end
end

-- Another trunk rings for this one by now, and its gateway must stop.
local function tell_followed(invite, candidate)
  if not candidate.told then
    candidate.told = true
    touch(invite, candidate)
    cancel(invite, { candidate }, '480', 'unreachable')
  end
end

local function come_back(invite, candidate, new)
  local live = LIVE[candidate.state]
  -- A loss that is in pages may not have reached this invite yet.
  local is_same = candidate.id == new.peer and not presence.other_session(candidate.session, new.session)
    and not order.later(new.lost, invite.entry)
  local may_ring = not OUT_BY_CHOICE[candidate.state] or (has_declined_for_connection(candidate) and not is_same)
  take_over(invite, candidate, new)
  if candidate.followed and candidate.state == 'GONE' then
    tell_followed(invite, candidate)
    finish_if_deserted(invite)
    return
  end
  if (live and is_same) or not may_ring then
    finish_if_deserted(invite)
    tell_end(invite, new)
    return
  end
  local again = not candidate.unheard
  candidate.unheard, candidate.declined = nil, nil
  if candidate.type == 'PUSH' then
    if candidate.state == 'PUSHED' and candidate.pushedAt then
      measures.add('woke ' .. int(candidate.pushedAt))
    end
    candidate.type, candidate.push, candidate.pushedAt = 'PEER', true, nil
  end
  set_state(invite, candidate, 'CALLED')
  if tonumber(invite.expiresAt) > now and not candidate.silenced then
    ring(invite, { candidate }, again)
    if again then
      info('resuming', invite.inviteRequest == '1' and 'inviteRequest' or 'invite', new.raw, head_of(invite) .. '}')
    end
  end
end

local function join_invite(invite, new)
  debug('update_candidates', invitation_json(invite), new.raw)
  local candidate = candidate_of_device(invite, new.user, new.peer, new.device)
  if candidate and candidate.declined == new.peer and not new.lost and not new.session then
    -- This registration has come later than the answer of its own connection.
    return
  elseif candidate then
    come_back(invite, candidate, new)
  elseif tonumber(invite.expiresAt) > now and invite.to == new.user and invite.caller ~= new.peer
    and invite.from ~= new.user and not new.trunk and not invite.alone then
    candidate = {
      id = new.peer, address = new.user, type = 'PEER', state = 'CALLED', device = new.device, session = new.session,
    }
    add_candidate(invite, candidate)
    ring(invite, { candidate }, false)
  end
end

-- A user with too many devices loses the one that has not renewed its registration for the longest time.
local function make_room(new, replaced)
  local limit = settings.devices_per_user
  if new.trunk or limit == 0 or redis.call('HLEN', key('registry', new.user)) - #replaced < limit then
    return
  end
  local oldest, found
  for id, each in pairs(registry.of(new.user)) do
    if id ~= new.peer and not new.replaced[id] and (not found or order.later(found.at, each.at)) then
      oldest, found = id, each
    end
  end
  if found then
    local mark = presence.mark_of(new.user, oldest)
    presence.note_end(mark, nil, work.entry)
    warn('device_dropped', 'devicesPerUser', new.user, oldest)
    lose(oldest, new.user, found, mark, work.entry)
  end
end

-- Is the registration the one that a page belongs to, perhaps renewed? The first page belongs to the commit that
-- stores it.
local function is_still_there(new)
  local found = not work.page and new or registry.find(new.user, new.peer)
  return found and (found.trunk or false) == new.trunk and found.device == new.device
    and not presence.other_session(found.session, new.session)
end

local function of_arguments(user, peer, raw, device, session, trunk, fresh, lost)
  return {
    user = user, peer = peer, raw = raw, trunk = trunk == '1', fresh = fresh == '1', lost = lost ~= '' and lost,
    device = device ~= '' and device or nil, session = session ~= '' and session or nil,
  }
end

-- Lets the device see to those invites of a page that are pending, or that are not. Returns true when the device is not
-- there any more.
local function see_to(refs, new, pending, act)
  if not is_still_there(new) then
    return true
  end
  for _, ref in ipairs(refs) do
    local invite = load_invite(ref)
    if invite and is_pending(invite) == pending and not (pending and is_group(invite)) then
      act(invite, new)
    end
  end
end

-- The device rings for the pending invites.
function pages.came(user, refs, ...)
  return see_to(refs, of_arguments(user, ...), true, join_invite)
end

-- The device hears that its ringing is over.
function pages.came_late(user, refs, ...)
  return see_to(refs, of_arguments(user, ...), false, tell_end)
end

-- The stored registration names its entry.
local function counted_as_now(registry)
  local first, last = string.find(registry, '"at":"' .. work.ahead .. '"', 1, true)
  return string.sub(registry, 1, first - 1) .. '"at":"' .. work.entry .. '"' .. string.sub(registry, last + 1)
end

local function known_of(new)
  return registry.find(new.user, new.peer), presence.mark_of(new.user, new.peer)
end

-- Returns the replaced peer ids, each with the entry of its registration.
function events.registered(user, peer, registry, device, session, expires, trunk)
  if work.ahead then
    registry = counted_as_now(registry)
  end
  local new = {
    user = user, peer = peer, raw = registry, trunk = trunk == '1', expires = tonumber(expires), replaced = {},
    device = device ~= '' and device or nil, session = session ~= '' and session or nil,
  }
  local old, mark = known_of(new)
  if outdated(new, old, mark) or not replace_same_device(new, mark) then
    return {}
  end
  local renewed = old and (old.trunk or false) == new.trunk and old.device == new.device and old.session == new.session
  store(new, old, mark)
  if not renewed and not new.trunk then
    holders.claim(peer, user, work.entry)
  end
  local replaced, replaced_at = {}, {}
  for id, at in pairs(new.replaced) do
    replaced[#replaced + 1] = id
    replaced_at[#replaced_at + 1], replaced_at[#replaced_at + 2] = id, at
  end
  if new.trunk then
    emit_everywhere(user, 'trunk_registered', user, peer, registry, device, session, expires, unpack(replaced_at))
  elseif old and old.trunk then
    emit_everywhere(user, 'trunk_ended', user, peer, work.entry, old.at, '{}')
  end
  if renewed then
    -- The device rings, or has rung, for all that it is a candidate of.
    return new.replaced
  end
  if not old then
    make_room(new, replaced)
  end
  local fresh = not old or presence.other_session(old.session, new.session)
  every('pending', user, 'came', peer, registry, device, session, trunk, fresh and '1' or '0', mark.lost or '')
  if fresh then
    every('ended', user, 'came_late', peer, registry, device, session, trunk, '1', '')
  end
  keep_calls(user, peer, new.device, replaced)
  every('missed', user, 'missed', peer, device)
  return new.replaced
end

-- In every other shard, since every shard uses all trunks. The peer ids that the trunk has replaced (each with the
-- entry of its registration) end here, too, even if the trunk is gone already, or their registrations are still on
-- their way.
function internal.trunk_registered(_, user, peer, registry, device, session, expires, ...)
  local here, replaced = events.registered(user, peer, registry, device, session, expires, '1'), { ... }
  for i = 1, #replaced, 2 do
    if not here[replaced[i]] then
      internal.trunk_ended(user, user, replaced[i], work.entry, replaced[i + 1], cjson.encode({ [''] = work.entry }))
    end
  end
end
