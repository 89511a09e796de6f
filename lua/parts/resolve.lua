-- Whom to ring for a callee: registered devices, what sippo-server knows, a trunk.
--
-- What a worker found out at sippo-server comes as JSON: known (is there such a callee), failed (it could not be asked),
-- push (devices), peers (connected elsewhere), phone (a number that leads to the callee); for a group members, each with
-- user, push, peers, trunk, and sequential.
-- include: parts/legs
-- include: parts/commit

local NOTHING = { known = false }

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
  return trunk_candidate(asked.trunk, asked.found and asked.found.phone or asked.to)
end

-- Registered devices of the callee, without the inviting peer, and whether there are registrations at all.
local function peers_of(asked)
  local peers, known = {}, false
  for id, found in pairs(registry_of(asked.to)) do
    known = true
    if id ~= asked.peer and asked.to ~= asked.user then
      peers[#peers + 1] = peer_candidate(id, asked.to, found)
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

-- What sippo-server says, once a worker has asked it. A group is only asked for when nobody of that name is registered.
local function looked_up(asked, registered)
  local look_up = settings.look_up
  if look_up == '' or (look_up == 'groups' and registered) then
    return NOTHING
  end
  if not asked.found then
    need(registered and 'user' or 'anybody')
  end
  return asked.found
end

-- Members who are to be called: not the inviter, nobody twice, nobody who is in the room already.
local function members_to_call(asked, members)
  local users, seen, called = {}, { [asked.user] = true }, {}
  for _, member in ipairs(members) do
    if not seen[member.user] then
      seen[member.user] = true
      users[#users + 1] = member
    end
  end
  if #users == 0 or asked.room == '' then
    return users
  end
  local names = {}
  for i, member in ipairs(users) do
    names[i] = member.user
  end
  local present = redis.call('HMGET', key('room-members', asked.room), unpack(names))
  for i, member in ipairs(users) do
    if not present[i] then
      called[#called + 1] = member
    end
  end
  return called
end

local function resolve_group(asked, found)
  if #found.members > settings.max_group_size then
    warn('group_too_large', asked.to, int(#found.members), int(settings.max_group_size))
    return { candidates = {}, code = 403, reason = 'too_many' }
  end
  local members = members_to_call(asked, found.members)
  if #members == 0 then
    return { candidates = {}, code = 480, reason = 'unreachable' }
  end
  return { members = members, sequential = found.sequential }
end

local function resolve_user(asked)
  debug('resolving', asked.to)
  local candidates, registered = peers_of(asked)
  local found = looked_up(asked, #candidates > 0)
  if found.members and #candidates == 0 then
    return resolve_group(asked, found)
  end
  local present = {}
  for _, candidate in ipairs(candidates) do
    present[candidate.id] = true
  end
  for _, id in ipairs(found.peers or {}) do
    if not present[id] and id ~= asked.peer then
      candidates[#candidates + 1] = peer_candidate(id, asked.to, {})
    end
  end
  if asked.to ~= asked.user then
    add_push_candidates(candidates, asked.to, found.push)
  end
  if #candidates == 0 or found.phone then
    candidates[#candidates + 1] = trunk_for(asked)
  end
  if #candidates > 0 then
    return { candidates = candidates }
  elseif found.failed then
    return { candidates = candidates, code = 500, reason = 'internal' }
  elseif registered or found.known or is_known(asked.to) then
    return { candidates = candidates, code = 480, reason = 'unreachable' }
  end
  return { candidates = candidates, code = 404, reason = 'not_found' }
end

-- candidates, and how they are called ("out": to the phone network first, "alone": nobody else, ever); or members of a
-- group, and whether one after the other; or the code and reason why nobody can be rung.
local function resolve(asked)
  if asked.requestId ~= '' then
    local request = asked.to .. '|' .. asked.requestId .. '|' .. asked.user
    local peer = redis.call('GET', key('request', request))
    if peer then
      peer = back_as(asked.to, peer) or peer
      -- A guest, or a caller from the phone network, is not registered.
      local found = registration(asked.to, peer) or {}
      return { candidates = { peer_candidate(peer, asked.to, found) }, how = 'alone' }
    end
  end
  if settings.parallel_sip and asked.asks == '0' then
    local trunk = trunk_for(asked)
    if trunk then
      return { candidates = { trunk }, how = 'out' }
    end
  end
  return resolve_user(asked)
end
