-- Registrations: registry:<user>, peer id -> JSON; trunks: the same for the trunks, of all users.
-- gone:<user>|<peer> remembers for an hour which peer ended when, known:<user> that there was one.
-- include: parts/unit
-- include: parts/order

local TRUNKS, TRUNKS_VERSION = base .. 'trunks', base .. 'trunks-version'

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
  return raw and cjson.decode(raw) or nil
end

local function peer_candidate(id, user, found)
  return {
    id = id, address = user, type = 'PEER', state = 'CALLED', device = found.device, session = found.session,
  }
end

-- A trunk as the way to a number; nil when it is not there any more.
local function trunk_candidate(id, number)
  local raw = redis.call('HGET', TRUNKS, id)
  local trunk = raw and cjson.decode(raw)
  return trunk and {
    id = id, address = number, type = 'PSTN', state = 'CALLED', user = trunk.user, device = trunk.device,
    session = trunk.session,
  }
end

local function device_of(user, peer)
  local found = registration(user, peer)
  return found and found.device or nil
end

local function gone(user, peer)
  local raw = redis.call('GET', key('gone', user .. '|' .. peer))
  return raw and cjson.decode(raw) or nil
end

-- Two connections of one peer are told apart only where both name themselves.
local function other_session(a, b)
  return a ~= nil and b ~= nil and a ~= b
end

-- Remembers an end: at (its entry, for order), lost (when that differs: since when it is gone, as an entry id), device,
-- session; by (the peer id under which the device is back); ignored (it was
-- the end of another session than the present one, but may yet be that of one that is still on its way).
local function mark_gone(user, peer, mark)
  local text = '{"at":"' .. mark.at .. '"'
  for _, field in ipairs({ 'lost', 'device', 'session', 'by' }) do
    if mark[field] then
      text = text .. ',"' .. field .. '":' .. json.quote(mark[field])
    end
  end
  if mark.ignored then
    text = text .. ',"ignored":true'
  end
  remember(key('gone', user .. '|' .. peer), text .. '}', now + MEMORY)
end

-- The peer's registration `old` (if any) ends, for which `mark` is remembered.
local function forget(user, peer, old, mark)
  if old then
    mark.device, mark.session = old.device, mark.session or old.session
    later('hash', 'HDEL', old.trunk and TRUNKS or key('registry', user), peer)
    if old.trunk then
      later(nil, 'SET', TRUNKS_VERSION, work.origin)
    end
    if old.expires then
      unschedule('lapse|' .. user .. '|' .. peer)
    end
  end
  mark_gone(user, peer, mark)
  remember(key('known', user), mark.at, now + MEMORY)
end
