-- joined, left, roomClosed: the members of a room. Pending invites into a room end when it closes, or when their
-- inviter leaves it and is not back within roomGrace. The invites of a user who joins it are answered (see
-- call/joining.lua).
--
-- Arguments  peer, device of a join ("" where none is named)
-- Reads      the room's members, its marks, its pending invites, a page at a time
-- Marks      closed:<room>, left:<room>|<user>: the entries of the last close and leave; they expire
-- include: core/commit
-- include: core/emit
-- include: core/refs
-- include: call/pages
-- include: call/ending
-- include: call/joining

-- The value of a member (see `joins.read_member`). Its entry is the ms of the entry id, or the whole id if its sequence is not 0.
local function member_value(entry, peer, device)
  return string.gsub(entry, '%-0$', '') .. (peer and '|' .. peer or '') .. (device and '|' .. device or '')
end

local function member_of(room, user)
  local members = key('room-members', room)
  local value = redis.call('HGET', members, user)
  trust(members)
  return value and joins.read_member(value) or nil
end

-- Tells the other members of the room, some 250 in a commit. After a fail-over the cursor of a scan may miss some
-- members of a room that is larger.
function internal.tell_members(room, user, kind, cursor)
  local found = redis.call('HSCAN', key('room-members', room), cursor, 'COUNT', 250)
  local others = {}
  for i = 1, #found[2], 2 do
    if found[2][i] ~= user then
      others[#others + 1] = found[2][i]
    end
  end
  if #others > 0 then
    notify(kind, '[]', json.strings(others), '{"userId":' .. quoted[user] .. ',"roomId":' .. quoted[room] .. '}')
  end
  if found[1] ~= '0' then
    proceed(room, 'tell_members', user, kind, found[1])
  end
end

-- The inviter is back in time.
local function undo_leaving(room, user)
  later({ 'DEL', key('left', room .. '|' .. user) })
  unschedule('left|' .. room .. '|' .. user)
end

function events.joined(user, room, peer, device)
  local marks = redis.call('MGET', key('closed', room), key('left', room .. '|' .. user))
  if order.later(marks[1], work.entry) or order.later(marks[2], work.entry) then
    return
  end
  local present = member_of(room, user)
  local is_latest = not present or order.later(work.entry, present.entry)
  if is_latest then
    local named = peer ~= '' and { peer = peer, device = device ~= '' and device or nil } or present or {}
    add('hash', { 'HSET', key('room-members', room), user, member_value(work.entry, named.peer, named.device) })
  end
  if marks[2] and settings.room_grace > 0 then
    undo_leaving(room, user)
  end
  if not present then
    internal.tell_members(room, user, 'userJoined', '0')
  end
  info('joined', user, room)
  if is_latest then
    emit(user, 'user_joined', room, peer, device)
  end
end

-- Ends the invite into the room if it is older than `entry`. Returns whether it has ended, or its end is on its way.
local function end_invite(room, ref, reason, entry)
  if not is_here(callee_of(ref)) then
    -- The score is the entry that made the invite.
    local made = redis.call('ZSCORE', key('room-invites', room), ref)
    if not made or tonumber(made) >= order.number(entry) then
      return false
    end
    emit(callee_of(ref), 'room_is_over', ref, reason, entry)
    internal.room_freed(room, ref, entry)
    return true
  end
  local invite = load_invite(ref)
  if not invite then
    internal.room_freed(room, ref, entry)
  elseif is_pending(invite) and not order.later(invite.entry, entry) then
    internal.room_is_over(room, ref, reason, entry)
    return true
  end
  return false
end

function pages.inviter_left(room, refs, entry)
  for _, ref in ipairs(refs) do
    end_invite(room, ref, 'caller_gone', entry)
  end
end

-- The refs of the user's invites into the room. One pass over the index, in the server's own code.
local function invites_of(room, user)
  local index, refs, cursor = key('room-invites', room), {}, '0'
  repeat
    local found = redis.call('ZSCAN', index, cursor, 'COUNT', 10000, 'MATCH', glob(user) .. '|*')
    cursor = found[1]
    for i = 1, #found[2], 2 do
      refs[#refs + 1] = found[2][i]
    end
  until cursor == '0'
  trust(index)
  return refs
end

function events.left(user, room)
  local marks = redis.call('MGET', key('closed', room), key('left', room .. '|' .. user))
  if order.later(marks[2], work.entry) then
    return
  elseif order.later(marks[1], work.entry) then
    -- Closing frees the members. This user may have accepted and not joined.
    emit(user, 'user_left', room)
    return
  end
  remember(key('left', room .. '|' .. user), work.entry, lifetimes.order())
  local present = member_of(room, user)
  local is_back = present and order.later(present.entry, work.entry)
  if present and not is_back then
    later({ 'HDEL', key('room-members', room), user })
    internal.tell_members(room, user, 'userLeft', '0')
  end
  info('left', user, room)
  emit(user, 'user_left', room)
  if settings.room_grace == 0 then
    every_of(invites_of(room, user), room, 'inviter_left', work.entry)
  elseif not is_back then
    local due = math.min(order.split(work.entry), now) + settings.room_grace
    add('zset', { 'ZADD', TIMERS, 'NX', int(due), 'left|' .. room .. '|' .. user })
  end
end

-- The inviter was not back within roomGrace. `due` is when that was over.
function internal.inviter_stays_away(room, user, due)
  local left = redis.call('GET', key('left', room .. '|' .. user)) or int(due - settings.room_grace) .. '-0'
  every_of(invites_of(room, user), room, 'inviter_left', left)
end

-- `before` is the number of invites that earlier pages have ended.
function pages.room_closed(room, refs, entry, before)
  local ended = tonumber(before)
  for _, ref in ipairs(refs) do
    if end_invite(room, ref, 'room_closed', entry) then
      ended = ended + 1
    end
  end
  if work.page == 'more' then
    return { entry, int(ended) }
  end
  notify('roomCleaned', '[]', '[]', '{"roomId":' .. quoted[room] .. ',"invites":' .. int(ended) .. '}')
end

function pages.members_gone(room, users, entry)
  local members = key('room-members', room)
  local since_when = #users > 0 and redis.call('HMGET', members, unpack(users)) or {}
  for i, user in ipairs(users) do
    if since_when[i] and not order.later(joins.read_member(since_when[i]).entry, entry) then
      later({ 'HDEL', members, user })
      emit(user, 'user_left', room)
    end
  end
end

function events.roomClosed(room)
  local closed = redis.call('GET', key('closed', room))
  if not order.later(closed, work.entry) then
    remember(key('closed', room), work.entry, lifetimes.order())
    every('room-members', room, 'members_gone', work.entry)
    info('cleaning', room)
  end
  every('room-invites', room, 'room_closed', work.entry, '0')
end
