-- Registrations: which peers of a user are connected.
--
-- A rule sees what it has changed: `work.peers` has the peers that the event is about, user|peer -> what is known of
-- each (see reach/presence.lua).
--
-- registry:<user>  peer id -> JSON
-- trunks           registrations of trunks (see reach/trunks.lua)
-- exports: registry
-- include: core/unit
-- include: reach/trunks

registry = {}

local NONE = {}

-- The user's registrations by peer id, without trunks.
function registry.of(user)
  local name = key('registry', user)
  local flat = redis.call('HGETALL', name)
  trust(name)
  local found = {}
  for i = 1, #flat, 2 do
    found[flat[i]] = cjson.decode(flat[i + 1])
  end
  for _, one in pairs(work.peers or NONE) do
    if one.user == user then
      local own = one.registration
      found[one.peer] = own and not own.trunk and own or nil
    end
  end
  return found
end

-- The registration of the user's peer, also as a trunk; nil when it has none.
function registry.find(user, peer)
  local known = work.peers and work.peers[user .. '|' .. peer]
  if known then
    return known.registration
  end
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

-- Stores the registration `new`, whose text is `raw`, in the place of `old` (nil: the peer has none).
function registry.store(new, old)
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
end

function registry.remove(user, peer, old)
  if old.trunk then
    trunks.remove(user, peer, old)
  else
    later({ 'HDEL', key('registry', user), peer })
  end
end

function registry.candidate(id, user, found)
  return {
    id = id, address = user, type = 'PEER', state = 'CALLED', device = found.device, session = found.session,
  }
end
