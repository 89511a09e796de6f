-- Invites: invite:<ref>, a hash of plain values; its indexes; and what its inviter and its devices are told.
--
-- A field that has no value is not there. Beside the fields of the contract: fromDetails, requestId, entry (of the event
-- that made it), updated (the entry of its last repeat), ringing (1 once a device rang), alone (1: only the peer that asked is rung), parallel
-- ("out" while the phone network has it, "back" once it returned), backPeer and backUser (the returning leg's), moved (with several shards: the entry since which the
-- caller's device is there under another peer id), asksUntil (with several shards: until when an invite may name this request).
-- include: core/unit
-- include: out/notify
-- include: call/candidates
-- include: core/emit
-- include: reach/push
-- include: reach/registry
-- include: core/order
-- include: call/indexes

-- The invite, or nil; read once for each event.
local function load_invite(ref)
  local invite = work.invites[ref]
  if invite ~= nil then
    return invite or nil
  end
  local name = key('invite', ref)
  local flat = redis.call('HGETALL', name)
  trust(name)
  if #flat == 0 then
    work.invites[ref] = false
    return nil
  end
  -- All fields at once: a table that grows field by field is made anew four times.
  invite = {
    ref = ref, fresh = { 'HSET', name }, touched = {}, head = nil, candidates = nil, live_until = nil,
    state = '', from = '', to = '', inviteId = '', caller = '', inviteRequest = '', createdAt = '', expiresAt = '',
    entry = '', room = nil, context = nil, code = nil, reason = nil, endedAt = nil, whoAccepted = nil, acceptedBy = nil,
  }
  for i = 1, #flat, 2 do
    invite[flat[i]] = flat[i + 1]
  end
  work.invites[ref] = invite
  return invite
end

local function change(invite, field, value)
  invite[field] = value
  local fresh = invite.fresh
  fresh[#fresh + 1] = field
  fresh[#fresh + 1] = value
  work.changed[invite.ref] = invite
end

local OPTIONAL = { 'room', 'mediatypes', 'fromDetails', 'context', 'requestId' }

-- A new invite, pending. `asked` is what its event says; entry is that event's.
local function new_invite(asked, created_at, expires_at, entry)
  local fresh = {
    'HSET', key('invite', asked.ref), 'state', 'PENDING', 'from', asked.user, 'to', asked.to,
    'inviteId', asked.invite_id, 'caller', asked.peer, 'inviteRequest', asked.asks, 'createdAt', created_at,
    'expiresAt', expires_at, 'entry', entry,
  }
  local invite = {
    ref = asked.ref, head = asked.about, candidates = {}, fresh = fresh, touched = {}, live_until = nil,
    state = 'PENDING', from = asked.user, to = asked.to, inviteId = asked.invite_id, caller = asked.peer,
    inviteRequest = asked.asks, createdAt = created_at, expiresAt = expires_at, entry = entry,
    room = nil, mediatypes = nil, fromDetails = nil, context = nil, requestId = nil,
  }
  for i = 1, #OPTIONAL do
    local field = OPTIONAL[i]
    local value = asked[field]
    if value ~= '' then
      invite[field] = value
      fresh[#fresh + 1] = field
      fresh[#fresh + 1] = value
    end
  end
  work.invites[asked.ref] = invite
  work.changed[asked.ref] = invite
  return invite
end

-- The entry by which its inviter last spoke of it.
local function last_word(invite)
  return invite.updated or invite.entry
end

local function is_pending(invite)
  return invite.state == 'PENDING'
end

-- Until when an inviteRequest can be answered by an invite that names it; "" for any other.
local function asks_until(invite)
  return invite.inviteRequest == '1' and int(tonumber(invite.expiresAt) + settings.retain_after) or ''
end

-- It can be answered from now on, perhaps before the shard of the one that asks has heard of it.
local function note_request(invite)
  if invite.inviteRequest == '1' and not is_here(invite.from) then
    change(invite, 'asksUntil', asks_until(invite))
  end
end

-- The phone network has it, and it has not come back: its callee does not know of it yet.
local function is_hidden(invite)
  return invite.parallel == 'out'
end

-- Notes the changed invites and candidates down, once all rules have spoken.
local function save_changes()
  for ref, invite in pairs(work.changed) do
    local candidates = key('candidates', ref)
    if #invite.fresh > 2 then
      add('hash', invite.fresh)
    end
    if next(invite.touched) then
      local note = { 'HSET', candidates }
      for id, candidate in pairs(invite.touched) do
        note[#note + 1] = id
        note[#note + 1] = candidate_json(candidate)
        if #note >= 1000 then
          add('hash', note)
          note = { 'HSET', candidates }
        end
      end
      if #note > 2 then
        add('hash', note)
      end
    end
    if invite.live_until then
      expire(key('invite', ref), invite.live_until)
      expire(candidates, invite.live_until)
    end
  end
end

-- The invite rings the callee, and the users of the trunks among its candidates.
local function index_owners(invite, candidates)
  local owners = {}
  if not is_hidden(invite) then
    owners[invite.to] = true
  end
  for _, candidate in ipairs(candidates) do
    owners[owner(candidate)] = true
  end
  for user in pairs(owners) do
    index_pending(user, invite.ref)
  end
end

-- The inviter is told at the peer that invited, and so is the trunk of a returning leg. `asking` is a peer that asked
-- for it and hears it alone: {peer, user}.
local function tell_inviter(invite, kind, rest, asking)
  local peers, users = { invite.caller }, { invite.from }
  if asking then
    peers, users = { asking.peer }, { asking.user }
  elseif invite.backPeer then
    peers[2] = invite.backPeer ~= invite.caller and invite.backPeer or nil
    users[2] = invite.backUser ~= invite.from and invite.backUser or nil
  end
  notify(kind, peers, users, head(invite) .. rest)
end

local function tell_progress(invite, transaction, asking)
  local inside, ringing, pushed = count(invite)
  local code = ringing > 0 and 180 or pushed > 0 and 110 or 100
  tell_inviter(invite, 'inviteProgress',
    ',"code":' .. int(code) .. ',"candidates":' .. int(inside) .. ',"ringing":' .. int(ringing)
      .. ',"pushed":' .. int(pushed)
      .. (transaction and transaction ~= '' and ',"transaction":' .. transaction or '') .. '}', asking)
end

local function tell_outcome(invite, asking)
  if invite.state == 'ACCEPTED' then
    tell_inviter(invite, 'inviteAccepted', ',"room":' .. json.text(invite.room)
      .. ',"code":200,"whoAccepted":' .. json.quote(invite.whoAccepted)
      .. ',"peer":' .. json.text(invite.acceptedBy) .. '}', asking)
  else
    tell_inviter(invite, 'inviteRejected', ',"code":' .. invite.code .. ',"reason":"' .. invite.reason .. '"}', asking)
  end
end

-- Those that are peers are told in one entry; each push device by a job of its own, for as long as `deadline`.
local function tell_devices(kind, invite, candidates, payload, deadline)
  local peers, users, seen = {}, {}, {}
  for _, candidate in ipairs(candidates) do
    if candidate.type == 'PUSH' then
      push(kind, invite, candidate, deadline, payload)
    else
      peers[#peers + 1] = candidate.id
    end
    local user = owner(candidate)
    if not seen[user] and candidate.type ~= 'PUSH' then
      seen[user] = true
      users[#users + 1] = user
    end
    if verbosity > 1 then
      debug(kind == 'invitation' and 'send_invitation' or 'send_cancel', payload, candidate_json(candidate))
    end
  end
  if #peers > 0 then
    notify(kind, peers, users, payload)
  end
end

-- Sends the invitation to candidates of the invite, all in one entry.
local function ring(invite, candidates, resumed)
  local payload = head(invite)
    .. (invite.group and ',"group":' .. json.quote(invite.group) or '')
    .. (invite.room and ',"room":' .. json.quote(invite.room) or '')
    .. ',"mediatypes":' .. json.opaque(invite.mediatypes)
    .. ',"fromDetails":' .. json.opaque(invite.fromDetails)
    .. ',"context":' .. json.opaque(invite.context)
    .. ',"inviteRequest":' .. (invite.inviteRequest == '1' and 'true' or 'false')
    .. ',"expiresIn":' .. int(math.max(0, tonumber(invite.expiresAt) - now))
    .. ',"resumed":' .. (resumed and 'true' or 'false')
    .. (invite.requestId and ',"requestId":' .. json.quote(invite.requestId) or '') .. '}'
  tell_devices('invitation', invite, candidates, payload, tonumber(invite.expiresAt))
end

-- Sends news of the invite to the devices that ring.
local function ring_again(invite)
  local ringing = {}
  for _, candidate in pairs(candidates_of(invite)) do
    if candidate.state == 'CALLED' or candidate.state == 'RINGING' then
      ringing[#ringing + 1] = candidate
    end
  end
  if #ringing > 0 then
    ring(invite, ringing, true)
  end
end

-- Tells candidates to stop ringing, all in one entry.
local function cancel(invite, candidates, code, reason)
  if #candidates == 0 then
    return
  end
  local payload = head(invite) .. ',"code":' .. code .. ',"reason":"' .. reason .. '"'
    .. (reason == 'accepted_elsewhere' and ',"whoAccepted":' .. json.quote(invite.whoAccepted) or '') .. '}'
  tell_devices('invitationCancel', invite, candidates, payload, now + settings.retain_after)
end

-- What only group calls do: see group/groups.lua and group/legs.lua.
local group_call = {}

-- What a device that did not win is told. (Of one candidate: its user may be busy, while the invite goes on elsewhere.)
local function cancel_words(invite, candidate)
  if candidate and candidate.state == 'REJECTED' then
    return '486', 'busy_elsewhere'
  elseif invite.state == 'ACCEPTED' then
    return '200', 'accepted_elsewhere'
  elseif invite.reason == 'declined' then
    return invite.code, 'declined_elsewhere'
  elseif invite.reason == 'busy' then
    return invite.code, 'busy_elsewhere'
  end
  return invite.code, invite.reason
end

-- The call record: exactly one for each invite.
local function record(invite)
  local list = {}
  if is_group(invite) then
    list = group_call.results(invite)
  else
    for id, candidate in pairs(candidates_of(invite)) do
      list[#list + 1] = '{"address":' .. json.quote(candidate.address)
        .. ',"peer":' .. json.quote(id)
        .. ',"endReason":' .. int(candidate.endReason) .. '}'
    end
  end
  notify('INVITE_COMPLETED', {}, {}, head(invite)
    .. ',"room":' .. json.text(invite.room)
    .. ',"group":' .. (invite.group and 'true' or 'false')
    .. ',"inviteRequest":' .. (invite.inviteRequest == '1' and 'true' or 'false')
    .. ',"mediatypes":' .. json.opaque(invite.mediatypes)
    .. ',"state":"' .. invite.state .. '","error":' .. invite.code
    .. ',"whoAccepted":' .. json.text(invite.whoAccepted)
    .. ',"startedAt":' .. invite.createdAt .. ',"endedAt":' .. invite.endedAt
    .. ',"candidates":[' .. table.concat(list, ',') .. ']}')
  debug('completed')
end

local function set_end(invite, state, code, reason)
  change(invite, 'state', state)
  change(invite, 'code', int(code))
  change(invite, 'reason', reason)
  change(invite, 'endedAt', int(now))
  invite.live_until = now + settings.retain_after
end

-- Takes the invite out of every index but the one of its ended siblings, for devices that come back too late.
local function unindex(invite)
  -- By user: is there a device that may come back too late?
  local owners = { [invite.to] = false }
  for _, candidate in pairs(candidates_of(invite)) do
    local user = owner(candidate)
    owners[user] = owners[user] or LATE[candidate.state] or false
  end
  for user, late in pairs(owners) do
    later({ 'SREM', key('pending', user), invite.ref })
    if late then
      local ended = key('ended', user)
      later({ 'ZREMRANGEBYSCORE', ended, '-inf', now - settings.retain_after })
      add('zset', { 'ZADD', ended, now, invite.ref })
      expire(ended, now + settings.retain_after)
    end
  end
  if invite.parallel then
    later({ 'SREM', key('parallel', invite.to), invite.ref })
  end
  unschedule('ring|' .. invite.ref)
  if is_leg(invite) then
    return
  end
  emit(invite.from, 'call_ended', invite.ref, invite.entry, last_word(invite))
  if invite.room then
    emit(invite.room, 'room_freed', invite.ref, invite.entry)
  end
end

-- The ref of the group's invite that a leg belongs to.
local function group_ref(leg)
  return leg.from .. '|' .. leg.inviteId .. '|' .. leg.group
end

-- Ends a pending invite: its candidates stop, the inviter hears it, the record is written. `winner` is the accepting
-- candidate, `decliner` the one whose answer ended it.
local function finish(invite, state, code, reason, winner, decliner)
  if is_group(invite) then
    return group_call.finish(invite, state, code, reason)
  elseif invite.claimed and not winner and not invite.silent then
    -- The group's shard has it whether this leg has won; it will end the leg either way.
    return
  end
  set_end(invite, state, code, reason)
  if winner then
    change(invite, 'whoAccepted', invite.to)
    change(invite, 'acceptedBy', winner.id)
    set_state(invite, winner, 'ACCEPTED', 200)
    if is_leg(invite) then
      note_request(invite)
    else
      info('accepted', invite.inviteId, invite.room or 'undefined', invite.to)
    end
  end
  local told = {}
  for _, candidate in pairs(candidates_of(invite)) do
    if candidate ~= winner and candidate ~= decliner and IN[candidate.state] then
      -- A push that sippo-server has not taken yet is not sent any more.
      if candidate.state ~= 'PUSHING' then
        told[#told + 1] = candidate
      end
      set_state(invite, candidate, 'CANCELLED', code == 408 and 408 or 487)
    end
  end
  unindex(invite)
  cancel(invite, told, cancel_words(invite))
  if is_leg(invite) then
    if not invite.silent then
      emit(invite.group, 'leg_ended', group_ref(invite), invite.to, int(code), reason, decliner and decliner.id or '')
    end
  else
    tell_outcome(invite)
    record(invite)
  end
end

-- Ends the invite if no candidate is left that could accept.
local function finish_if_deserted(invite)
  if count(invite) == 0 then
    local code, reason = best_response(invite)
    finish(invite, 'DECLINED', code, reason)
  end
end

-- In the callee's shard: the invite's room is over for it, or its inviter's device gone, since the entry `since`.
local function end_unless_later(ref, reason, since, entry_of)
  local invite = load_invite(ref)
  if invite and is_pending(invite) and not order.later(entry_of(invite), since) then
    finish(invite, 'DECLINED_BY_CREATOR', 487, reason)
  end
end

local function made_by(invite)
  return invite.entry
end

function internal.room_is_over(_, ref, reason, since)
  end_unless_later(ref, reason, since, made_by)
end

-- A caller that spoke of it later is there.
function internal.caller_is_gone(_, ref, since)
  end_unless_later(ref, 'caller_gone', since, last_word)
end

-- `said` is the entry by which its inviter last spoke of it, as far as the inviter's shard knew.
function internal.caller_moved(_, ref, peer, said)
  local invite = load_invite(ref)
  if not invite or (work.relayed and (order.later(last_word(invite), said) or order.later(invite.moved, work.entry))) then
    return
  end
  if is_pending(invite) then
    change(invite, 'caller', peer)
    if shards > 1 then
      change(invite, 'moved', work.entry)
    end
  elseif work.relayed and tonumber(invite.endedAt) >= order.split(work.entry) then
    -- The outcome was told to the peer that was gone.
    tell_outcome(invite, { peer = peer, user = invite.from })
  end
end

-- One item of a list of invitations.
local function invitation_json(invite)
  return head(invite)
    .. ',"group":' .. json.text(invite.group)
    .. ',"room":' .. json.text(invite.room)
    .. ',"state":"' .. invite.state .. '"'
    .. ',"inviteRequest":' .. (invite.inviteRequest == '1' and 'true' or 'false')
    .. ',"mediatypes":' .. json.opaque(invite.mediatypes)
    .. ',"context":' .. json.opaque(invite.context)
    .. ',"startedAt":' .. invite.createdAt
    .. ',"expiresAt":' .. invite.expiresAt .. '}'
end
