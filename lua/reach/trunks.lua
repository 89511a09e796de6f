-- Trunks: registrations that lead to the phone network.
--
-- trunks          user|peer -> JSON, for the trunks of all users. A field that a release before 0.2.0 has written has
--                 the peer id alone. It keeps its name until the registration ends, so that workers of both releases
--                 use one registration.
-- trunks-version  the entry or timer that last changed them
--
-- A list of trunks is a text of fields of `trunks`, with spaces between them: the first choice comes first.
-- exports: trunks
-- include: core/unit
-- include: core/order

trunks = {}

each_shard(function()
  trunks.hash, trunks.version = base .. 'trunks', base .. 'trunks-version'
end)

-- Of two registrations of one trunk the later one counts.
local function later_of(one, other)
  return one and (not other or order.later(one.at, other.at)) and one or other
end

-- The user's trunks by peer id.
function trunks.of(user)
  local flat = redis.call('HGETALL', trunks.hash)
  trust(trunks.hash)
  local found = {}
  for i = 1, #flat, 2 do
    local trunk = cjson.decode(flat[i + 1])
    if trunk.user == user then
      local known = found[trunk.id]
      local former = flat[i] == trunk.id or (known and known.former)
      found[trunk.id] = later_of(trunk, known)
      found[trunk.id].former = former
    end
  end
  return found
end

-- The registration of the user's peer as a trunk, or nil. `former` is true when a field has the peer id alone.
function trunks.registration(user, peer)
  local raw = redis.call('HMGET', trunks.hash, user .. '|' .. peer, peer)
  local found, former = raw[1] and cjson.decode(raw[1]) or nil, raw[2] and cjson.decode(raw[2])
  if former and former.user == user then
    found = later_of(found, former)
    found.former = true
  end
  return found
end

local function note_change()
  later({ 'SET', trunks.version, work.origin })
end

-- `old` is the peer's present registration, or nil.
function trunks.store(new, old)
  add('hash', { 'HSET', trunks.hash, old and old.former and new.peer or new.user .. '|' .. new.peer, new.raw })
  note_change()
end

function trunks.remove(user, peer, old)
  later({ 'HDEL', trunks.hash, user .. '|' .. peer, old.former and peer or nil })
  note_change()
  -- Another one may be called for it, also for another leg, in the same commit.
  work.lost_trunk = user .. '|' .. peer
end

-- The first trunk of the list that is there, and whose peer id no candidate has: the way to the number. Also returns the
-- rest of the list.
function trunks.next(list, number, candidates)
  while list ~= '' do
    local field, rest = string.match(list, '^(%S+) ?(.*)$')
    local raw = redis.call('HGET', trunks.hash, field)
    local trunk = raw and cjson.decode(raw)
    if trunk and trunk.user .. '|' .. trunk.id ~= work.lost_trunk and not candidates[trunk.id] then
      return {
        id = trunk.id, address = number, type = 'PSTN', state = 'CALLED', user = trunk.user, device = trunk.device,
        session = trunk.session, confirm = trunk.confirm,
      }, rest
    end
    list = rest
  end
end

-- May a callee without any device be a number? The Reachability service says so itself, if it has answered.
function trunks.may_be_number(found)
  return settings.look_up ~= 'reachability' or found.failed
end
