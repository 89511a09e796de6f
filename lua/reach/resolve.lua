-- Resolves a callee to candidates: registered devices, devices that sippo-server knows, a trunk.
--
-- A worker's lookup at sippo-server comes as JSON (invites/lookup/result.py)
--   known       the callee exists
--   failed      sippo-server gave no answer
--   push        device ids that a push can wake
--   peers       peers that are connected at sippo-server
--   phone       a number that leads to the callee
--   members     of a group: each with user, push, peers, trunks, phone, failed; sequential: one rings after the other
--   resource    for the log
-- exports: callees
-- include: core/commit
-- include: core/shards
-- include: reach/presence
-- include: reach/registry
-- include: reach/away
-- include: reach/push
-- include: reach/user_states

callees = {}

local NOTHING = { known = false }

-- Lua has no regular expressions, so a worker chooses the trunks. This checks that it has chosen among the present
-- ones. Returns false when there are none.
local function check_trunks(asked)
  local version = redis.call('GET', trunks.version)
  if version and version ~= asked.trunks_version then
    need('trunks')
  end
  return version
end

-- The first trunk that leads to the callee, beside these candidates, and the list of the others.
local function trunk_for(asked, candidates)
  if check_trunks(asked) then
    local present = {}
    for _, candidate in ipairs(candidates) do
      present[candidate.id] = true
    end
    return trunks.next(asked.trunks, asked.found and asked.found.phone or asked.to, present)
  end
end

-- Returns the registered devices of the callee without the inviting peer, and whether the callee has registrations.
local function peers_of(asked)
  local peers, count, user = {}, 0, asked.to
  local name = key('registry', user)
  local flat = redis.call('HGETALL', name)
  trust(name)
  for i = 1, user ~= asked.user and #flat or 0, 2 do
    local id, raw = flat[i], flat[i + 1]
    if id ~= asked.peer then
      count = count + 1
      peers[count] = {
        id = id, address = user, type = 'PEER', state = 'CALLED', device = json.member(raw, 'device'),
        session = json.member(raw, 'session'),
      }
    end
  end
  return peers, #flat > 0
end

-- Does the user exist, although none of its devices can ring?
local function is_known(user)
  if redis.call('EXISTS', key('known', user)) == 1 then
    return true
  end
  for _, raw in ipairs(redis.call('HVALS', trunks.hash)) do
    if cjson.decode(raw).user == user then
      return true
    end
  end
  return false
end

-- The result of the worker's lookup. A worker asks for a group only when no user of that name is registered.
function callees.looked_up(asked, registered)
  local look_up = settings.look_up
  if look_up == '' or (look_up == 'groups' and registered) then
    return NOTHING
  end
  if not asked.found then
    need(registered and 'user' or 'anybody')
  end
  return asked.found
end

local function log_look_up(asked, found, registered)
  local look_up = settings.look_up
  if not registered and (look_up == 'groups' or look_up == 'all') then
    debug('resolving_group', asked.to)
  elseif found.resource then
    debug('resource', asked.to, found.resource.type, found.resource.candidates)
  end
end

-- The members to call: each once, without the inviter and without members who are in the room.
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
  local there = is_here(asked.room) and redis.call('HGETALL', key('room-members', asked.room)) or {}
  local present = {}
  for i = 1, #there, 2 do
    present[there[i]] = true
  end
  for _, member in ipairs(users) do
    if not present[member.user] and not member.present then
      called[#called + 1] = member
    end
  end
  return called
end

local function resolve_group(asked, found)
  local size = found.size or #found.members
  if size > settings.max_group_size then
    warn('group_too_large', asked.to, int(size), int(settings.max_group_size))
    return { is_group = true, candidates = {}, code = 403, reason = 'too_many' }
  end
  local members = members_to_call(asked, found.members)
  if #members == 0 then
    return { is_group = true, candidates = {}, code = 480, reason = 'unreachable' }
  end
  check_trunks(asked)
  return { members = members, sequential = found.sequential }
end

local function resolve_callee(asked)
  debug('resolving', asked.to)
  local candidates, registered = peers_of(asked)
  local rings = #candidates > 0
  local found = callees.looked_up(asked, rings)
  log_look_up(asked, found, rings)
  if found.members and not rings then
    return resolve_group(asked, found)
  end
  if asked.to ~= asked.user then
    if found.peers then
      presence.add_connected_at_sippo(candidates, asked.to, found.peers, asked.peer, work.entry)
    end
    if found.push then
      add_push_candidates(candidates, asked.to, found.push)
    end
    away.add(candidates, asked.to, asked.peer)
  end
  local other_trunks
  if found.phone or (#candidates == 0 and trunks.may_be_number(found)) then
    candidates[#candidates + 1], other_trunks = trunk_for(asked, candidates)
  end
  if #candidates > 0 then
    return { candidates = candidates, other_trunks = other_trunks }
  elseif found.failed then
    return { candidates = candidates, code = 500, reason = 'internal' }
  elseif registered or found.known or is_known(asked.to) then
    return { candidates = candidates, code = 480, reason = 'unreachable' }
  end
  return { candidates = candidates, code = 404, reason = 'not_found' }
end

-- Is the callee a group? A name with registered devices is a user's.
local function is_group_name(asked)
  return settings.look_up ~= '' and settings.look_up ~= 'push' and #peers_of(asked) == 0
    and callees.looked_up(asked, false).members
end

-- Is the invite a call to a group, and not refused?
function callees.is_group(asked)
  return not user_states.refuse(asked.marks and asked.marks[5], asked.user) and is_group_name(asked)
end

-- With parallelSip an invite to a user goes to the phone network first, if a trunk leads there. Returns as `trunk_for`.
local function way_out(asked)
  if not settings.parallel_sip or asked.invite_request ~= '0' then
    return nil
  end
  local trunk, others = trunk_for(asked, {})
  if not trunk or not is_group_name(asked) then
    return trunk, others
  end
end

-- The peer that has asked for this invite by an inviteRequest, or "|code|reason", if any. This is that peer's shard, and
-- it may hear of the request after the answer. Then the worker asks the shard of the request's callee: "peer|until
-- when".
local function requester_of(asked)
  local peer = redis.call('GET', key('request', asked.to .. '|' .. asked.requestId .. '|' .. asked.user))
  if peer or is_here(asked.user) or asked.requester == '|' then
    return peer
  elseif not asked.requester then
    need('request')
  end
  local known, until_when = string.match(asked.requester, '^(.+)|(%d+)$')
  return tonumber(until_when) > now and known
end

-- Resolves an invite that answers a request of `peer`. A peer that was lost has callerGrace to come back.
local function resolve_answer(asked, peer)
  local code, reason = string.match(peer, '^|(%d+)|(.+)$')
  if code then
    return { candidates = {}, code = tonumber(code), reason = reason }
  end
  peer = presence.now(asked.to, peer) or peer
  local found = registry.find(asked.to, peer)
  if not found then
    local ended = presence.left(asked.to, peer) or {}
    if ended.lost and order.split(ended.lost) + settings.caller_grace <= now then
      return { candidates = {}, code = 480, reason = 'unreachable' }
    end
    -- A guest and a caller from the phone network are not registered. A guest's device may be known.
    found = { device = ended.device }
  end
  return { candidates = { registry.candidate(peer, asked.to, found) }, how = 'alone' }
end

-- A probe rings the devices that are registered: no trunk, no push, and no request to sippo-server.
-- A probe that overtakes its own registrations needs no warning.
local function resolve_probe(asked)
  return { is_refused = true, candidates = peers_of(asked), code = 480, reason = 'unreachable' }
end

-- Returns candidates, with `how` ("out": the phone network first; "alone": nobody else, ever) and `other_trunks` (the
-- list of those that lead to the number, too); or the members of a group and whether it is sequential; or no
-- candidates, a code and a reason, and whether the callee wants it so. The peer that has asked for the invite wants it
-- in any case.
function callees.resolve(asked)
  if asked.probe then
    return resolve_probe(asked)
  end
  if asked.requestId ~= '' then
    local peer = requester_of(asked)
    if peer then
      return resolve_answer(asked, peer)
    end
  end
  if user_states.refuse(asked.marks and asked.marks[5], asked.user) then
    info('undisturbed', asked.to, asked.user)
    return { is_refused = true, candidates = {}, code = 480, reason = 'unreachable' }
  end
  local trunk, others = way_out(asked)
  if trunk then
    return { candidates = { trunk }, how = 'out', other_trunks = others }
  end
  return resolve_callee(asked)
end
