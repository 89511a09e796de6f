-- joined, left, roomClosed: the members of a room. Pending invites into a room end when it closes, or when their
-- inviter leaves it.
--
-- Reads      the room's members, its marks, its pending invites
-- Marks      closed:<room>, left:<room>|<user>: the entries of the last close and leave; they expire after an hour
-- include: core/commit
-- include: core/emit
-- include: core/refs
-- include: call/ending

-- How many invites one commit ends. A timer that is due at once continues.
local PAGE = 50

-- The value of a member: the ms of its entry id, or the whole id if its sequence is not 0.
local function since(entry)
  return (string.gsub(entry, '%-0$', ''))
end

local function others_of(members, user)
  local others = {}
  for i = 1, #members, 2 do
    if members[i] ~= user then
      others[#others + 1] = members[i]
    end
  end
  return others
end

local function members_of(room)
  return redis.call('HGETALL', trust(key('room-members', room)))
end

local function since_when(members, user)
  for i = 1, #members, 2 do
    if members[i] == user then
      return members[i + 1]
    end
  end
end

local function tell_room(kind, user, room, others)
  if #others > 0 then
    notify(kind, {}, others, '{"userId":' .. json.quote(user) .. ',"roomId":' .. json.quote(room) .. '}')
  end
end

function events.joined(user, room)
  local marks = redis.call('MGET', key('closed', room), key('left', room .. '|' .. user))
  if order.later(marks[1], work.entry) or order.later(marks[2], work.entry) then
    return
  end
  local members = members_of(room)
  local present = since_when(members, user)
  if not present or order.later(work.entry, present) then
    add('hash', { 'HSET', key('room-members', room), user, since(work.entry) })
  end
  if not present then
    tell_room('userJoined', user, room, others_of(members, user))
  end
  info('joined', user, room)
end

-- Is the invite pending and older than the entry?
local function is_ended_by(ref, entry)
  local invite = load_invite(ref)
  return invite ~= nil and is_pending(invite) and not order.later(invite.entry, entry)
end

-- Ends pending invites into the room that are older than `entry`: those of the inviter `from`, or all. Returns the
-- number, and whether more are left.
local function end_invites(room, entry, from, reason, limit)
  local ended = 0
  local index = redis.call('ZRANGE', trust(key('room-invites', room)), 0, -1, 'WITHSCORES')
  for i = 1, #index, 2 do
    local ref = index[i]
    if not from or inviter_of(ref) == from then
      if ended >= limit then
        return ended, true
      elseif not is_here(callee_of(ref)) then
        -- The score is the entry that made the invite.
        if tonumber(index[i + 1]) < order.number(entry) then
          ended = ended + 1
          emit(callee_of(ref), 'room_is_over', ref, reason, entry)
          internal.room_freed(room, ref, entry)
        end
      elseif is_ended_by(ref, entry) then
        ended = ended + 1
        internal.room_is_over(room, ref, reason, entry)
      elseif not load_invite(ref) then
        internal.room_freed(room, ref, entry)
      end
    end
  end
  return ended, false
end

function events.left(user, room)
  local marks = redis.call('MGET', key('closed', room), key('left', room .. '|' .. user))
  if order.later(marks[1], work.entry) or order.later(marks[2], work.entry) then
    return
  end
  remember(key('left', room .. '|' .. user), work.entry, now + MEMORY)
  local members = members_of(room)
  local present = since_when(members, user)
  if present and not order.later(present, work.entry) then
    later({ 'HDEL', key('room-members', room), user })
    tell_room('userLeft', user, room, others_of(members, user))
  end
  info('left', user, room)
  end_invites(room, work.entry, user, 'caller_gone', math.huge)
end

local function clean(room, entry, before)
  local ended, more = end_invites(room, entry, nil, 'room_closed', PAGE)
  if more then
    schedule('close|' .. room .. '|' .. entry .. '|' .. (before + ended), now)
    return
  end
  notify('roomCleaned', {}, {}, '{"roomId":' .. json.quote(room) .. ',"invites":' .. int(before + ended) .. '}')
end

function events.roomClosed(room)
  local closed = redis.call('GET', key('closed', room))
  if order.later(closed, work.entry) then
    return clean(room, work.entry, 0)
  end
  remember(key('closed', room), work.entry, now + MEMORY)
  local members = members_of(room)
  for i = 1, #members, 2 do
    if not order.later(members[i + 1], work.entry) then
      later({ 'HDEL', key('room-members', room), members[i] })
    end
  end
  info('cleaning', room)
  clean(room, work.entry, 0)
end

function timers.close(rest)
  local room, entry, before = string.match(rest, '^(.+)|(.+)|(%d+)$')
  clean(room, entry, tonumber(before))
end
