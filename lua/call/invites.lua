-- Invites: invite:<ref>, a hash of plain values; its indexes; and what its inviter and its devices are told.
--
-- A field that has no value is not there. Beside the fields of the contract: fromDetails, requestId, entry (of the event
-- that made it), updated (the entry of its last repeat), ringing (1 once a device rang), alone (1: only the peer that asked is rung), parallel
-- ("out" while the phone network has it, "back" once it returned), backPeer and backUser (the returning leg's), moved (with several shards: the entry since which the
-- caller's device is there under another peer id), asksUntil (with several shards: until when an invite may name this request).
-- include: core/unit
-- include: core/shards
-- include: call/kinds
-- include: call/candidates
-- include: out/notify

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
    ref = ref, kind = nil, fresh = { 'HSET', name }, touched = {}, head = nil, candidates = nil, live_until = nil,
    state = '', from = '', to = '', inviteId = '', caller = '', inviteRequest = '', createdAt = '', expiresAt = '',
    entry = '', room = nil, context = nil, code = nil, reason = nil, endedAt = nil, whoAccepted = nil, acceptedBy = nil,
  }
  for i = 1, #flat, 2 do
    invite[flat[i]] = flat[i + 1]
  end
  invite.kind = kind_of(invite)
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
    'inviteId', asked.invite_id, 'caller', asked.peer, 'inviteRequest', asked.invite_request, 'createdAt', created_at,
    'expiresAt', expires_at, 'entry', entry,
  }
  local invite = {
    ref = asked.ref, kind = kinds.direct, head = asked.head, candidates = {}, fresh = fresh, touched = {}, live_until = nil,
    state = 'PENDING', from = asked.user, to = asked.to, inviteId = asked.invite_id, caller = asked.peer,
    inviteRequest = asked.invite_request, createdAt = created_at, expiresAt = expires_at, entry = entry,
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

-- The invite is a group call, or a leg of one.
local function set_group(invite, group)
  change(invite, 'group', group)
  invite.kind = kind_of(invite)
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

-- Lets the changed legs tell their groups how many of their devices ring.
local function report_changes()
  local reporting = {}
  for _, invite in pairs(work.changed) do
    if invite.kind.report then
      reporting[#reporting + 1] = invite
    end
  end
  for i = 1, #reporting do
    local invite = reporting[i]
    invite.kind.report(invite)
  end
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

-- One item of a list of invitations.
local function invitation_json(invite)
  return head_of(invite)
    .. ',"group":' .. json.text(invite.group)
    .. ',"room":' .. json.text(invite.room)
    .. ',"state":"' .. invite.state .. '"'
    .. ',"inviteRequest":' .. (invite.inviteRequest == '1' and 'true' or 'false')
    .. ',"mediatypes":' .. json.opaque(invite.mediatypes)
    .. ',"context":' .. json.opaque(invite.context)
    .. ',"startedAt":' .. invite.createdAt
    .. ',"expiresAt":' .. invite.expiresAt .. '}'
end
