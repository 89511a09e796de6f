-- A device has come: it rings for each pending invite with the remaining time. A device that comes back rings again, or
-- learns that its ringing is over.
-- exports: come
-- include: core/commit
-- include: reach/away
-- include: reach/marks
-- include: reach/presence
-- include: reach/registry
-- include: call/ending
-- include: call/indexes
-- include: call/pages
-- include: out/devices

-- The candidate's device, to be notified over the connection `peer`.
local function connection(candidate, peer)
  return {
    id = peer, address = candidate.address, type = candidate.type ~= 'PUSH' and candidate.type or 'PEER',
    state = candidate.state, user = candidate.user,
  }
end

local LIVE = { CALLED = true, RINGING = true }

-- From now on the device has only this peer id. A connection that it replaces stops ringing.
local function take_over(invite, candidate, new)
  local replaced = {}
  for _, other in pairs(candidates_of(invite)) do
    if other ~= candidate and new.device and other.device == new.device and owner(other) == new.user then
      remove_candidate(invite, other)
      candidate.silenced = candidate.silenced or other.silenced
      away.end_grace(new.user, other.id)
      replaced[#replaced + 1] = LIVE[other.state] and connection(other, other.id) or nil
    end
  end
  if candidate.id ~= new.peer then
    away.end_grace(new.user, candidate.id)
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

-- How long it may take until somebody notices that a connection has died (ms).
local NOTICED = 60000

-- Does the device know that its ringing is over? It was connected then, and an event reported the end of its connection
-- so much later that the connection had not died before.
local function has_heard(invite, candidate, new)
  local since = candidate.toldAt
  if candidate.state == 'CANCELLED' and not candidate.missed and candidate.type ~= 'PUSH' then
    since = tonumber(invite.endedAt)
  end
  if not since then
    return false
  end
  local lost = new.lost
  if candidate.id ~= new.peer then
    local left = presence.left(new.user, candidate.id)
    lost = left and not left.unseen and left.lost
  end
  -- Another shard's clock says when a trunk was lost.
  local tolerance = new.trunk and shards > 1 and order.TOLERANCE or 0
  return lost and order.split(lost) - tolerance - NOTICED > since
end

-- A device that comes back after its ringing has ended learns why, once.
local function tell_end(invite, new)
  local candidate = candidate_of_device(invite, new.user, new.peer, new.device)
  local winner = candidates_of(invite)[invite.acceptedBy]
  if not new.fresh or (winner and new.device and winner.device == new.device) then
    return
  end
  if candidate and not candidate.told and LATE[candidate.state] and may_have_heard(candidate) then
    candidate.told = true
    touch(invite, candidate)
    if not has_heard(invite, candidate, new) then
      cancel(invite, { connection(candidate, new.peer) }, cancel_words(invite, candidate))
    end
  end
end

-- Another trunk now rings instead of this one, whose gateway must stop.
local function tell_followed(invite, candidate)
  if not candidate.told then
    candidate.told = true
    touch(invite, candidate)
    cancel(invite, { candidate }, '480', 'unreachable')
  end
end

local function come_back(invite, candidate, new)
  local live = LIVE[candidate.state]
  -- A loss that is processed in pages may not have reached this invite yet.
  local is_same = candidate.id == new.peer and not marks.other_session(candidate.session, new.session)
    and not order.later(new.lost, invite.entry)
  local may_ring = not OUT_BY_CHOICE[candidate.state]
    or (has_declined_for_connection(candidate) and not is_same and not candidate.followed)
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
    if candidate.state == 'PUSHED' and (candidate.pushedAt or 0) > 0 then
      measures.add('woke ' .. int(candidate.pushedAt))
    end
    candidate.type, candidate.push, candidate.pushedAt = 'PEER', true, candidate.pushedAt and 0
  end
  set_state(invite, candidate, 'CALLED')
  if tonumber(invite.expiresAt) > now and not is_quiet(invite, candidate) then
    ring(invite, { candidate }, again)
    if again then
      info('resuming', invite.inviteRequest == '1' and 'inviteRequest' or 'invite', new.raw, head_of(invite) .. '}')
    end
  end
end

local function join_invite(invite, new)
  debug('update_candidates', invitation_json(invite), new.raw)
  if is_of_other_user(invite, new.user, new.peer) then
    return
  end
  local candidate = candidate_of_device(invite, new.user, new.peer, new.device)
  if candidate and candidate.declined == new.peer and not new.lost and not new.session then
    -- This registration came later than the answer of its own connection.
    return
  elseif candidate then
    come_back(invite, candidate, new)
  elseif tonumber(invite.expiresAt) > now and invite.to == new.user and invite.caller ~= new.peer
    and invite.from ~= new.user and not new.trunk and not invite.alone then
    candidate = registry.candidate(new.peer, new.user, new)
    add_candidate(invite, candidate)
    ring(invite, { candidate }, false)
  end
end

-- Is the registration the one that a page belongs to, perhaps renewed?
local function is_still_there(new)
  local found = registry.find(new.user, new.peer)
  return found and (found.trunk or false) == new.trunk and found.device == new.device
    and not marks.other_session(found.session, new.session)
end

local function of_arguments(user, peer, raw, device, session, trunk, fresh, lost)
  return {
    user = user, peer = peer, raw = raw, trunk = trunk == '1', fresh = fresh == '1', lost = lost ~= '' and lost,
    device = device ~= '' and device or nil, session = session ~= '' and session or nil,
  }
end

-- Applies the device's coming to those invites of a page that are pending, or to those that are not. Returns true when
-- the device is no longer connected.
local function see_to(pending, act, refs, ...)
  if #refs == 0 then
    return
  end
  local new = of_arguments(...)
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
  return see_to(true, join_invite, refs, user, ...)
end

-- Tells the device that its ringing is over. The last argument is the loss, if an event reported it.
function pages.came_late(user, refs, ...)
  return see_to(false, tell_end, refs, user, ...)
end

-- `came` is a connected peer (see reach/presence.lua).
function come(came)
  local user, peer, new, lost = came.user, came.peer, came.registration, came.lost or ''
  local seen = not came.how and lost or ''
  local device, session = new.device or '', new.session or ''
  local trunk, fresh = new.trunk and '1' or '0', came.fresh and '1' or '0'
  every('pending', user, 'came', peer, new.raw, device, session, trunk, fresh, lost)
  if came.fresh then
    every('ended', user, 'came_late', peer, new.raw, device, session, trunk, fresh, seen)
  end
end
