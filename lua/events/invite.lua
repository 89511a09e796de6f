-- invite, inviteRequest: makes the invite and its candidates, rings them all, tells the inviter. The same ref again
-- updates it, or repeats what is known of it.
--
-- Arguments  peer, user, to, inviteId, head (how a payload about the invite begins), room, mediatypes, fromDetails, context, expires, requestId, transaction,
--            inviteRequest ("1" or "0"), then what the worker looked up: version of the trunks, trunk peer
-- Reads      the invite, tombstones, the callee's registrations, the version of the trunks
-- Why atomic a registration that comes meanwhile is either seen here or sees the invite
-- include: parts/invites
-- include: parts/registry

-- The trunk that the worker chose. Regular expressions are beyond Lua; that the choice was made among today's trunks
-- is checked here.
local function trunk_for(asked)
  local version = redis.call('GET', TRUNKS_VERSION)
  if not version then
    return nil
  end
  if version ~= asked.trunks_version then
    need('trunks')
  end
  if asked.trunk == '' then
    return nil
  end
  local trunk = cjson.decode(redis.call('HGET', TRUNKS, asked.trunk))
  return {
    id = asked.trunk, address = asked.to, type = 'PSTN', state = 'CALLED', user = trunk.user, device = trunk.device,
    session = trunk.session,
  }
end

-- Registered devices of the callee, without the inviting peer.
local function peers_of(asked)
  local peers, known = {}, false
  for id, found in pairs(registry_of(asked.to)) do
    known = true
    if id ~= asked.peer and asked.to ~= asked.user then
      peers[#peers + 1] = {
        id = id, address = asked.to, type = 'PEER', state = 'CALLED', device = found.device, session = found.session,
      }
    end
  end
  return peers, known
end

-- Is there such a user, although nothing of it can be rung?
local function is_known(user)
  if redis.call('EXISTS', key('known', user)) == 1 then
    return true
  end
  for _, raw in ipairs(redis.call('HVALS', TRUNKS)) do
    if cjson.decode(raw).user == user then
      return true
    end
  end
  return false
end

-- Whom to ring; how ("out": to the phone network first, "alone": nobody else, ever); and why nobody can be rung.
local function resolve(asked)
  if asked.requestId ~= '' then
    local request = asked.to .. '|' .. asked.requestId .. '|' .. asked.user
    local peer = redis.call('GET', key('request', request))
    if peer then
      return { {
        id = peer, address = asked.to, type = 'PEER', state = 'CALLED', device = device_of(asked.to, peer),
      } }, 'alone'
    end
  end
  if settings.parallel_sip and asked.asks == '0' then
    local trunk = trunk_for(asked)
    if trunk then
      return { trunk }, 'out'
    end
  end
  debug('resolving', asked.to)
  local peers, known = peers_of(asked)
  if #peers == 0 then
    peers = { trunk_for(asked) }
  end
  if #peers == 0 then
    known = known or is_known(asked.to)
    return peers, nil, known and 480 or 404, known and 'unreachable' or 'not_found'
  end
  return peers
end

-- Why the invite is over before it began, if it is: state, code, reason.
local function born_ended(asked, expires_at)
  local names = {
    key('stopped', asked.ref), key('stopped', '|' .. asked.invite_id .. '|' .. asked.to),
  }
  if asked.room ~= '' then
    names[3] = key('closed', asked.room)
    names[4] = key('left', asked.room .. '|' .. asked.user)
  end
  local found = redis.call('MGET', unpack(names))
  local stopped = found[1] or found[2]
  if stopped then
    return 'DECLINED_BY_CREATOR', tonumber(stopped), 'cancelled'
  elseif found[3] and order.later(found[3], work.entry) then
    return 'DECLINED_BY_CREATOR', 487, 'room_closed'
  elseif found[4] and order.later(found[4], work.entry) then
    return 'DECLINED_BY_CREATOR', 487, 'caller_gone'
  elseif expires_at <= now then
    return 'DECLINED_BY_TIMEOUT', 408, 'timeout'
  end
end

-- Until when an inviteRequest can be answered by an invite that names it.
local function asks_until(invite)
  if invite.inviteRequest == '1' then
    return tonumber(invite.expiresAt) + settings.retain_after
  end
end

local OPTIONAL = { 'room', 'mediatypes', 'fromDetails', 'context', 'requestId' }

local function new_invite(asked, created_at, expires_at)
  local invite = {
    ref = asked.ref, head = asked.about, candidates = {},
    state = 'PENDING', from = asked.user, to = asked.to, inviteId = asked.invite_id, caller = asked.peer,
    inviteRequest = asked.asks, createdAt = created_at, expiresAt = expires_at, entry = work.entry,
  }
  local fresh = {
    'state', 'PENDING', 'from', asked.user, 'to', asked.to, 'inviteId', asked.invite_id, 'caller', asked.peer,
    'inviteRequest', asked.asks, 'createdAt', created_at, 'expiresAt', expires_at, 'entry', work.entry,
  }
  for i = 1, #OPTIONAL do
    local field = OPTIONAL[i]
    local value = asked[field]
    if value ~= '' then
      invite[field] = value
      fresh[#fresh + 1] = field
      fresh[#fresh + 1] = value
    end
  end
  invite.fresh = fresh
  work.invites[asked.ref] = invite
  work.changed[asked.ref] = invite
  return invite
end

local function create(asked)
  local started = math.min(order.split(work.entry), now)
  local rings = math.min(tonumber(asked.expires) or settings.ring_timeout, settings.max_ring_timeout)
  local invite = new_invite(asked, int(started), int(started + rings))

  local function end_now(state, code, reason)
    set_end(invite, state, code, reason)
    later(nil, 'DEL', key('candidates', invite.ref))
    tell_outcome(invite)
    record(invite)
  end

  local state, code, reason = born_ended(asked, started + rings)
  if state then
    return end_now(state, code, reason)
  end
  local candidates, how
  candidates, how, code, reason = resolve(asked)
  if #candidates == 0 then
    warn('no_candidates', asked.to)
    return end_now('DECLINED', code, reason)
  end
  if verbosity > 1 then
    local found = {}
    for i, candidate in ipairs(candidates) do
      found[i] = candidate_json(candidate)
    end
    debug('got_candidates', '[' .. table.concat(found, ',') .. ']')
  end
  if how == 'alone' then
    change(invite, 'alone', '1')
  elseif how == 'out' then
    change(invite, 'parallel', how)
    later('set', 'SADD', key('parallel', asked.to), asked.ref)
    keep_index(key('parallel', asked.to))
  end
  local owners = {}
  for _, candidate in ipairs(candidates) do
    add_candidate(invite, candidate)
    owners[owner(candidate)] = true
  end
  if how ~= 'out' then
    owners[asked.to] = true
  end
  for user in pairs(owners) do
    index_pending(user, asked.ref)
  end
  invite.live_until = started + rings + DAY
  schedule('ring|' .. asked.ref, started + rings)
  emit(asked.user, 'call_started', asked.ref, asked.peer, asks_until(invite))
  if asked.room ~= '' then
    emit(asked.room, 'room_entered', asked.ref, int(started))
  end
  ring(invite, candidates, false)
  tell_progress(invite, asked.transaction)
end

-- The same ref again while it is pending.
local function update(invite, asked)
  if order.later(work.entry, last_word(invite)) then
    change(invite, 'updated', work.entry)
    if invite.caller ~= asked.peer then
      change(invite, 'caller', asked.peer)
      emit(invite.from, 'call_started', invite.ref, asked.peer, asks_until(invite))
    end
    local news = false
    for _, field in ipairs({ 'context', 'mediatypes', 'fromDetails' }) do
      if asked[field] ~= '' and asked[field] ~= invite[field] then
        change(invite, field, asked[field])
        news = news or field ~= 'fromDetails'
      end
    end
    if news then
      local ringing = {}
      for _, candidate in pairs(candidates_of(invite)) do
        if candidate.state == 'CALLED' or candidate.state == 'RINGING' then
          ringing[#ringing + 1] = candidate
        end
      end
      if #ringing > 0 then
        ring(invite, ringing, true)
      end
    end
  end
  tell_progress(invite, asked.transaction, asked)
end

events.invite = function(
  peer, user, to, invite_id, about, room, mediatypes, from_details, context, expires, request_id, transaction, asks,
  trunks_version, trunk)
  local asked = {
    ref = user .. '|' .. invite_id .. '|' .. to, peer = peer, user = user, to = to, invite_id = invite_id, about = about, room = room,
    mediatypes = mediatypes, fromDetails = from_details, context = context, expires = expires,
    requestId = request_id, transaction = transaction, asks = asks,
    trunks_version = trunks_version, trunk = trunk,
  }
  local invite = load_invite(asked.ref)
  if not invite then
    create(asked)
  elseif is_pending(invite) then
    update(invite, asked)
  else
    tell_outcome(invite, asked)
  end
end
