-- Registrations: which peers of a user are connected.
--
-- registry:<user>  peer id -> JSON
-- trunks           registrations of trunks (see reach/trunks.lua)
-- exports: registry
-- include: core/unit
-- include: reach/trunks

registry = {}

-- The user's registrations by peer id, without trunks.
function registry.of(user)
  local name = key('registry', user)
  local flat = redis.call('HGETALL', name)
  trust(name)
  local found = {}
  for i = 1, #flat, 2 do
    found[flat[i]] = cjson.decode(flat[i + 1])
  end
  return found
end

-- The registration of the user's peer, also as a trunk; nil when it has none.
function registry.find(user, peer)
  local name = key('registry', user)
  local raw = redis.call('HGET', name, peer)
  trust(name)
  if raw then
    return cjson.decode(raw)
  end
  return trunks.registration(user, peer)
end

function registry.device(user, peer)
  local found = registry.find(user, peer)
  return found and found.device or nil
end

function registry.candidate(id, user, found)
  return {
    id = id, address = user, type = 'PEER', state = 'CALLED', device = found.device, session = found.session,
  }
end
