-- A user who joins the room of invites that ring for it has answered them (joinAccepts).
--
-- A join is settled in the room's shard, and tells the user's shard, where the invites and the legs are.
--
-- came:<user>|<room>  with several shards, in the user's shard: the last join (as a member's value, see `joins.read_member`)
--                     or leaving (entry, "|out") that it has heard of; expires. An invite or a leg that begins after
--                     the join has been told looks here
-- exports: joins
-- include: core/emit
-- include: reach/presence
-- include: call/busy
-- include: call/pages
-- include: call/winning

joins = {}

-- The value of a member of a room: entry, "|" and the peer, "|" and its device, as far as they are named.
function joins.read_member(value)
  local entry, peer, device = string.match(value, '^([^|]+)|?([^|]*)|?([^|]*)$')
  return { entry = entry, peer = peer ~= '' and peer or nil, device = device ~= '' and device or nil }
end

local function is_claimed_by_join(invite)
  for _, request in ipairs(claims_of(invite)) do
    if request.type == 'joined' then
      return true
    end
  end
  return false
end

-- Ends the invite as the user's accept would; `peer` and `device` are nil where the join names none. A leg asks its
-- group.
function joins.accept(invite, peer, device)
  if peer and is_of_other_user(invite, invite.to, peer) then
    peer, device = nil, nil
  end
  if invite.held then
    -- Another shard decides first (see call/glare.lua).
    if not invite.postponed then
      change(invite, 'joined', json.strings({ peer or '', device or '' }))
    end
    return finish(invite, 'ACCEPTED', 200, 'accepted')
  end
  local request = request_of('joined', peer or naming.NOBODY, invite.to, '', device)
  local candidate = peer and candidate_of_request(invite, request)
  if is_hidden(invite) then
    change(invite, 'parallel', 'back')
  end
  if not is_leg(invite) then
    win(invite, request, candidate)
  elseif not is_claimed_by_join(invite) then
    kinds.leg.accept(invite, request, candidate)
  end
end

-- In a call to oneself the inviting peer answers nothing, and a join without a peer may mean any of the user's.
local function is_inviter(invite, peer)
  return invite.to == invite.from and (not peer or peer == invite.caller)
end

function pages.came_in(user, refs, room, peer, device)
  peer = peer ~= '' and peer or nil
  for _, ref in ipairs(refs) do
    local invite = load_invite(ref)
    if invite and is_pending(invite) and invite.room == room and invite.to == user and not is_group(invite)
      and not is_inviter(invite, peer) then
      joins.accept(invite, peer, device)
    end
  end
end

-- The join that has waited while the invite was held.
function joins.accept_postponed(invite)
  local peer, device = unpack(cjson.decode(invite.joined))
  joins.accept(invite, peer ~= '' and peer or nil, device ~= '' and device or nil)
end

-- The copy of a large index has the name of its kind.
function pages.came_in_outside(...)
  pages.came_in(...)
end

local function last_known(user, room)
  local note = redis.call('GET', key('came', user .. '|' .. room))
  if note then
    return joins.read_member(note), string.sub(note, -4) == '|out'
  end
end

-- Returns false when this join, or a later join or leave, is known.
local function note_coming(user, room, value)
  local known = last_known(user, room)
  if known and not order.later(work.entry, known.entry) then
    return false
  end
  remember(key('came', user .. '|' .. room), value, lifetimes.order())
  return true
end

-- In the user's shard: the user has joined the room, as `peer` ("" where none is named).
function internal.user_joined(user, room, peer, device)
  if work.relayed and not note_coming(user, room, work.entry .. '|' .. peer .. '|' .. device) then
    return
  end
  busy.joined(user, room, peer)
  if settings.join_accepts then
    every('pending', user, 'came_in', room, peer, device)
    if settings.parallel_sip then
      every('parallel', user, 'came_in_outside', room, peer, device)
    end
  end
end

function internal.user_left(user, room)
  if not work.relayed or note_coming(user, room, work.entry .. '|out') then
    busy.left(user, room)
  end
end

-- The join by which the callee has answered an invite or a leg that begins now, or nil. It is later than the invite (than
-- the event that starts the leg); or it names a peer whose device is registered (a membership without one may be stale). Members
-- of a group who were in the room before are not called at all. `looked_up` is the callee's value in a room of another shard, nil if there is none.
function joins.answered_before(invite, looked_up)
  if not settings.join_accepts or not invite.room then
    return nil
  end
  local made = is_leg(invite) and work.entry or invite.entry
  local value, known, is_out = looked_up, nil, false
  if is_here(invite.room) then
    value = redis.call('HGET', key('room-members', invite.room), invite.to)
  else
    known, is_out = last_known(invite.to, invite.room)
  end
  local join = value and joins.read_member(value)
  if known and not is_out and order.later(known.entry, made) then
    join = known
  elseif join and is_out and order.later(known.entry, join.entry) then
    join = nil
  end
  if join and not is_inviter(invite, join.peer) and (order.later(join.entry, made)
    or (join.peer and not is_leg(invite) and presence.now(invite.to, join.peer, join.device))) then
    return join
  end
end
