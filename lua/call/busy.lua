-- Who is in a call. A join that names its peer makes the user busy. An accept does so for both sides if a setting
-- depends on it.
--
-- busy:<user>  room -> peer|entry for a room that the user has joined, peer|entry|until for one that an accept leads
--              to, until the join (ms). Each has a timer: 30 s after an accept, a day after a join
-- exports: busy
-- include: core/emit
-- include: reach/presence
-- include: reach/registry
-- include: out/notify
-- include: call/invites

busy = {}

local JOIN_WITHIN, KEPT, MOST_ROOMS = 30000, 86400000, 100 -- ms, ms

-- The rooms of the user: room -> peer, entry, till. Each event reads them once, and they show what it has noted.
local function rooms_of(user)
  work.rooms = work.rooms or {}
  local rooms = work.rooms[user]
  if not rooms then
    rooms = {}
    local name = key('busy', user)
    local flat = redis.call('HGETALL', name)
    trust(name)
    for i = 1, #flat, 2 do
      local peer, entry, till = string.match(flat[i + 1], '^([^|]+)|([^|]+)|?(.*)$')
      rooms[flat[i]] = { peer = peer, entry = entry, till = tonumber(till) }
    end
    work.rooms[user] = rooms
  end
  return rooms
end

local function count(rooms)
  local found = 0
  for _ in pairs(rooms) do
    found = found + 1
  end
  return found
end

local function timer_of(user, room)
  return 'busy|' .. user .. '|' .. room
end

local function tell(kind, user, room)
  notify(kind, '[]', '[]', '{"userId":' .. quoted[user] .. ',"room":' .. quoted[room] .. '}')
end

local function write(user, room, peer, entry, till)
  local name = key('busy', user)
  rooms_of(user)[room] = { peer = peer, entry = entry, till = till }
  add('hash', { 'HSET', name, room, peer .. '|' .. entry .. (till and '|' .. int(till) or '') })
  expire(name, now + 2 * KEPT)
  schedule(timer_of(user, room), int(till or now + KEPT))
end

-- The last rooms of a user in very many do not count.
local function begin(user, room, peer, till)
  local rooms = count(rooms_of(user))
  if rooms < MOST_ROOMS then
    if rooms == 0 then
      tell('userBusy', user, room)
    end
    write(user, room, peer, work.entry, till)
  end
end

local function free(user, room)
  rooms_of(user)[room] = nil
  later({ 'HDEL', key('busy', user), room })
  unschedule(timer_of(user, room))
  if not next(rooms_of(user)) then
    tell('userFree', user, room)
  end
end

-- The time at which the room ends by itself.
local function deadline_of(known)
  return known.till or order.split(known.entry) + KEPT
end

-- A lost peer may come back within callerGrace.
local function give_grace(user, room)
  add('zset', { 'ZADD', TIMERS, 'LT', int(now + settings.caller_grace), timer_of(user, room) })
end

-- The user has joined the room, as `peer`. Without one ("") the join confirms an accept.
function busy.joined(user, room, peer)
  local known = rooms_of(user)[room]
  local named = peer ~= '' and peer or (known and known.peer)
  if not named then
    return
  elseif known then
    write(user, room, named, work.entry)
  else
    begin(user, room, named)
  end
  local ended = presence.left(user, named)
  if ended and order.later(ended.lost, work.entry) then
    give_grace(user, room)
  end
end

-- The user has left the room, or it is closed.
function busy.left(user, room)
  local known = rooms_of(user)[room]
  if known and not order.later(known.entry, work.entry) then
    free(user, room)
  end
end

-- The user is in the room as `peer`, until the time of the room is over.
local function keep(user, room, peer, known)
  write(user, room, peer, known.entry, known.till)
  schedule(timer_of(user, room), int(deadline_of(known)))
end

-- The device that is in a room as `peer`, if it is known.
local function device_in(user, peer)
  return registry.device(user, peer) or (presence.left(user, peer) or {}).device or nil
end

-- The device is connected as `peer` from now on, also in its calls.
function busy.moved(user, peer, device)
  for room, known in pairs(rooms_of(user)) do
    if known.peer ~= peer and device_in(user, known.peer) == device then
      keep(user, room, peer, known)
    end
  end
end

-- A peer of the user is lost.
function busy.lost(user, peer)
  for room, known in pairs(rooms_of(user)) do
    if known.peer == peer then
      give_grace(user, room)
    end
  end
end

-- Whether the user is in the room, and whether it has left by a later event than this one, as far as this shard knows
-- (see call/joining.lua).
local function membership(user, room)
  if is_here(room) then
    if redis.call('HEXISTS', key('room-members', room), user) == 1 then
      return true, false
    end
    return false, order.later(redis.call('GET', key('left', room .. '|' .. user)), work.entry)
  end
  local note = redis.call('GET', key('came', user .. '|' .. room))
  if note and string.sub(note, -4) == '|out' then
    return false, order.later(string.match(note, '^[^|]+'), work.entry)
  end
  return note and true, false
end

-- In the user's shard: an invite into the room is accepted. A trunk's peer is in many calls.
function internal.in_call(user, room, peer)
  local found = registry.find(user, peer)
  if not (found and found.trunk) and not rooms_of(user)[room] then
    local is_in, has_left = membership(user, room)
    if not has_left then
      begin(user, room, peer, not is_in and now + JOIN_WITHIN or nil)
    end
  end
end

-- The invite is accepted, by `peer` of `user` (nil for a join: that has made the user busy).
function busy.accepted(invite, user, peer)
  if invite.room and not invite.probe
    and (settings.track_busy or settings.when_busy ~= 'ring' or settings.only_one_device_with_invitations) then
    if user == invite.to then
      internal.in_call(user, invite.room, peer)
    end
    emit(invite.from, 'in_call', invite.room, invite.caller)
  end
end

-- The timer of a room: the user has not joined in time, the peer is lost and not back, or a day is over.
function busy.check(user, room)
  local known = rooms_of(user)[room]
  if not known then
    return
  end
  local back = presence.now(user, known.peer)
  local ended = not back and presence.left(user, known.peer)
  if deadline_of(known) <= now or (ended and order.later(ended.lost, known.entry)) then
    free(user, room)
  else
    keep(user, room, back or known.peer, known)
  end
end

-- The candidates of a user that may be rung while the user is in a call.
local function on_devices_in_calls(user, candidates)
  local found, devices = {}, {}
  for _, known in pairs(rooms_of(user)) do
    devices[known.peer] = device_in(user, known.peer) or false
  end
  for _, candidate in ipairs(candidates) do
    for peer, device in pairs(devices) do
      if owner(candidate) == user and same_device(candidate, peer, device) then
        found[#found + 1] = candidate
        break
      end
    end
  end
  return found
end

-- The effect of a new invite or leg on a callee who is in a call in another room. Returns the candidates to ring; none:
-- it ends with 486. If `is_out`, only the phone network has the call.
function busy.choose(invite, candidates, is_out)
  local only = settings.only_one_device_with_invitations and not is_out
  local is_busy = false
  if settings.when_busy ~= 'ring' or only then
    for room in pairs(rooms_of(invite.to)) do
      is_busy = is_busy or room ~= invite.room
    end
  end
  if not is_busy then
    return candidates
  elseif settings.when_busy == 'reject' then
    return {}
  elseif settings.when_busy == 'waiting' then
    change(invite, 'waiting', '1')
  end
  if only then
    change(invite, 'alone', 'in_call')
    return on_devices_in_calls(invite.to, candidates)
  end
  return candidates
end
