-- Registrations: registry:<user>, peer id -> JSON; trunks: the same for the trunks, of all users.
-- gone:<user>|<peer> remembers for an hour which peer ended when, known:<user> that there was one.
-- include: core/unit
-- include: core/order

local TRUNKS, TRUNKS_VERSION

each_call(function()
  TRUNKS, TRUNKS_VERSION = base .. 'trunks', base .. 'trunks-version'
end)

local function registry_of(user)
  local name = key('registry', user)
  local flat = redis.call('HGETALL', name)
  trust(name)
  local registry = {}
  for i = 1, #flat, 2 do
    registry[flat[i]] = cjson.decode(flat[i + 1])
  end
  return registry
end

local function trunks_of(user)
  local flat = redis.call('HGETALL', TRUNKS)
  trust(TRUNKS)
  local trunks = {}
  for i = 1, #flat, 2 do
    local trunk = cjson.decode(flat[i + 1])
    trunks[flat[i]] = trunk.user == user and trunk or nil
  end
  return trunks
end

local function registration(user, peer)
  local name = key('registry', user)
  local raw = redis.call('HGET', name, peer) or redis.call('HGET', TRUNKS, peer)
  trust(name)
  local found = raw and cjson.decode(raw) or nil
  -- Another user's peer may have the id of a trunk.
  return found and found.user == user and found or nil
end

local function peer_candidate(id, user, found)
  return {
    id = id, address = user, type = 'PEER', state = 'CALLED', device = found.device, session = found.session,
  }
end

-- A trunk as the way to a number; nil when it is not there any more.
local function trunk_candidate(id, number)
  local raw = id ~= work.lost_trunk and redis.call('HGET', TRUNKS, id)
  local trunk = raw and cjson.decode(raw)
  return trunk and {
    id = id, address = number, type = 'PSTN', state = 'CALLED', user = trunk.user, device = trunk.device,
    session = trunk.session,
  } or nil
end

-- Who has nothing else may be a number. The Reachability service says itself who is one, as long as it can be asked.
local function may_be_number(found)
  return settings.look_up ~= 'reachability' or found.failed
end

local function device_of(user, peer)
  local found = registration(user, peer)
  return found and found.device or nil
end

local function gone(user, peer)
  local raw = redis.call('GET', key('gone', user .. '|' .. peer))
  return raw and cjson.decode(raw) or nil
end

-- Those of the peers that are not there already: connected elsewhere, so that no more than their ids is known. `since` is
-- the entry of the invite for which sippo-server was asked.
local function add_connected_at_sippo(candidates, user, peers, caller, since)
  local present = { [caller] = true }
  for _, candidate in ipairs(candidates) do
    present[candidate.id] = true
  end
  for _, id in ipairs(peers or {}) do
    -- One that has gone since then will not go again.
    local ended = not present[id] and gone(user, id)
    if not present[id] and not (ended and order.later(ended.lost, since)) then
      present[id] = true
      candidates[#candidates + 1] = peer_candidate(id, user, {})
    end
  end
end

-- The peer id under which the device of a peer that is gone is there now, and since which entry.
local function back_as(user, peer)
  local ended = gone(user, peer)
  if ended and ended.device then
    for _, place in ipairs({ registry_of(user), trunks_of(user) }) do
      for id, found in pairs(place) do
        if found.device == ended.device then
          return id, found.at
        end
      end
    end
  end
end

-- Two connections of one peer are told apart only where both name themselves.
local function other_session(a, b)
  return a ~= nil and b ~= nil and a ~= b
end

-- A peer's mark (gone:<user>|<peer>). Its events count in the order of their entries, in whatever order they come: all
-- that can matter is the last registration and the ends later than that one.
--   since   the entry of its last registration, which is over
--   ends    session that was named ("" none) -> entry of the last such end
--   lost    since when the peer is gone, as an entry id; nil while it is there, and an end waits for its registration
--   device  of the last registration
local function mark_of(user, peer)
  return gone(user, peer) or { ends = {} }
end

local function save_mark(user, peer, mark)
  remember(key('gone', user .. '|' .. peer), cjson.encode(mark), now + MEMORY)
end

local function note_end(mark, session, entry)
  if order.later(entry, mark.ends[session or '']) then
    mark.ends[session or ''] = entry
  end
end

-- The last end that is later than a registration and means it; nil when there is none.
local function end_after(mark, entry, session)
  local found
  for named, ended in pairs(mark.ends) do
    if order.later(ended, entry) and not other_session(named ~= '' and named or nil, session)
      and order.later(ended, found) then
      found = ended
    end
  end
  return found
end

-- The peer's registration `old` (if any) is over, and the peer gone since `lost`.
local function forget(user, peer, old, mark, lost)
  if old then
    if not order.later(mark.since, old.at) then
      mark.since, mark.device = old.at, old.device
    end
    later({ 'HDEL', old.trunk and TRUNKS or key('registry', user), peer })
    if old.trunk then
      -- The end of a leg over this trunk may begin another leg in the same commit.
      work.lost_trunk = peer
      later({ 'SET', TRUNKS_VERSION, work.origin })
    end
    if old.expires then
      unschedule('lapse|' .. user .. '|' .. peer)
    end
  end
  mark.lost = lost
  save_mark(user, peer, mark)
  remember(key('known', user), lost, now + MEMORY)
end
