-- Invites: invite:<ref>, a hash. A field without a value does not exist, nor does one that follows from others (see
-- `fill_in`; invites/values/stored_invite.py does the same for readers). What only a pending invite needs is removed at its
-- end. Beside the fields of the contract and its candidates (see call/candidates.lua) it has
--
-- entry      the entry of the event that made it
-- updated    the entry of its last repeat
-- ringing    "1" once a device rings; pushed: "1" once sippo-server has taken a push
-- alone      who rings, where no device that registers later may: "requester", the peer that asked for this invite; "in_call", the
--            devices of the callee that are in a call; "nobody", as the callee is busy and the invite is held ("1" in a former
--            release)
-- parallel   "out" while the phone network has it, "back" once it has returned or has failed, "failed" in between while
--            the callee's devices are looked up
-- trunks     those that may follow one that fails (see call/trunk_failure.lua)
-- backPeer   the peer of the returning leg; backUser: its user
-- moved      with several shards: since when the caller's device has this peer id, by the clock of the inviter's shard
-- device     the device that the caller has named; replaces: the ref of the invite that this one replaces
-- probe      "1" for a call that tests the service: it rings registered devices alone, makes nobody busy, and has no record
-- story      what has happened to it (see core/story.lua)
-- answerContext  the context of the answer that ended it, for the inviter (JSON)
-- waiting    "1" when its callee was in another call as it began (see call/busy.lua)
-- refusal    with several shards: the end of an invite that names this inviteRequest: "|code|reason"
-- asksUntil  with several shards: until when an invite may name this inviteRequest (ms since 1970)
--
-- and further fields of group calls (see group/groups.lua, group/legs.lua) and of glare (see call/glare.lua).
-- include: core/unit
-- include: core/shards
-- include: call/kinds
-- include: call/candidates
-- include: out/notify

-- Sets the fields that follow from others: from the ref, from the entry that made the invite, and from its end. (Before
-- 0.2.0 all of them were stored.)
local function fill_in(invite)
  if invite.to == '' then
    invite.from, invite.inviteId, invite.to = string.match(invite.ref, '^([^|]+)|([^|]+)|(.+)$')
  end
  if invite.createdAt == '' then
    invite.createdAt = string.match(invite.entry, '^%d+')
  end
  if invite.state == 'ACCEPTED' then
    invite.code, invite.reason = invite.code or '200', invite.reason or 'accepted'
    invite.whoAccepted = invite.whoAccepted or invite.to
  end
end

-- The invite, or nil. Each event reads it once.
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
  -- With all fields at once: a table that grows field by field is rebuilt four times.
  invite = {
    ref = ref, kind = nil, fresh = { 'HSET', name, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil }, touched = {},
    stored = {}, head = nil, candidates = nil, live_until = nil, has_ended = nil,
    state = '', from = '', to = '', inviteId = '', caller = '', inviteRequest = '0', createdAt = '', expiresAt = '',
    entry = '', room = nil, context = nil, code = nil, reason = nil, endedAt = nil, whoAccepted = nil, acceptedBy = nil,
    story = nil, heard = nil,
  }
  for i = 1, #flat, 2 do
    local field = flat[i]
    if not invite[field] and string.byte(field) == 64 then -- "@"
      invite.stored[string.sub(field, 2)] = flat[i + 1]
    else
      invite[field] = flat[i + 1]
    end
  end
  fill_in(invite)
  invite.kind = kind_of(invite)
  work.invites[ref] = invite
  return invite
end

local function change(invite, field, value)
  local fresh = invite.fresh
  local count = #fresh
  fresh[count + 1], fresh[count + 2] = field, value
  invite[field] = value
  work.changed[invite.ref] = invite
end

-- From now on the inviter is notified at this peer. (Not every change of a group's call writes its story.)
local function set_caller(invite, peer)
  if peer ~= invite.caller then
    story.name_inviter(invite)
    if invite.story then
      change(invite, 'story', invite.story)
    end
  end
  change(invite, 'caller', peer)
end

local new_invite

do
  local OPTIONAL = { 'room', 'mediatypes', 'fromDetails', 'context', 'requestId' }

  -- Returns a new pending invite. `asked` has the arguments of its event, `entry` is that event's.
  function new_invite(asked, created_at, expires_at, entry)
    local fresh = {
      'HSET', key('invite', asked.ref), 'state', 'PENDING', 'caller', asked.peer, 'expiresAt', expires_at, 'entry', entry,
      nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, -- room for what follows
    }
    local invite = {
      ref = asked.ref, kind = kinds.direct, head = asked.head, candidates = {}, fresh = fresh, touched = {},
      live_until = nil,
      state = 'PENDING', from = asked.user, to = asked.to, inviteId = asked.invite_id, caller = asked.peer,
      inviteRequest = asked.invite_request, createdAt = created_at, expiresAt = expires_at, entry = entry,
      room = nil, mediatypes = nil, fromDetails = nil, context = nil, requestId = nil,
    }
    for i = 1, #OPTIONAL do
      local field = OPTIONAL[i]
      local value = asked[field]
      if value ~= '' then
        local count = #fresh
        fresh[count + 1], fresh[count + 2] = field, value
        invite[field] = value
      end
    end
    work.invites[asked.ref] = invite
    work.changed[asked.ref] = invite
    if asked.invite_request == '1' then
      change(invite, 'inviteRequest', '1')
    end
    if string.sub(entry, 1, #created_at + 1) ~= created_at .. '-' then
      change(invite, 'createdAt', created_at)
    end
    return invite
  end
end

-- Makes the invite a group call, or a leg of one.
local function set_group(invite, group)
  change(invite, 'group', group)
  invite.kind = kind_of(invite)
end

-- The entry of the inviter's last invite with this ref.
local function last_word(invite)
  return invite.updated or invite.entry
end

local function is_pending(invite)
  return invite.state == 'PENDING'
end

-- Until when an invite may name this inviteRequest (ms since 1970, as text); "" for an invite.
local function asks_until(invite)
  return invite.inviteRequest == '1' and int(lifetimes.request(invite)) or ''
end

-- An invite may name this inviteRequest from now on, perhaps before the requester's shard knows of it.
local function note_request(invite)
  if invite.inviteRequest == '1' and not is_here(invite.from) then
    change(invite, 'asksUntil', asks_until(invite))
  end
end

-- The callee does not know the invite: the phone network has it, or it is held (see call/glare.lua).
local function is_hidden(invite)
  return invite.parallel == 'out' or invite.parallel == 'failed' or invite.held ~= nil
end

-- Lets the changed legs report to their groups.
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

local save_changes

do
  -- Lua passes some 8,000 values to a command at most.
  local MOST_WORDS = 1000

  -- What nobody needs once the invite is over. (A group's pages still do.)
  local OF_PENDING = { 'context', 'mediatypes', 'fromDetails', 'ringing', 'pushed', 'alone', 'trunks', 'counted' }

  local function remove_what_is_over(invite, name)
    local note = { 'HDEL', name, nil, nil, nil }
    for i = 1, #OF_PENDING do
      if invite[OF_PENDING[i]] then
        note[#note + 1] = OF_PENDING[i]
      end
    end
    if note[3] then
      later(note)
    end
  end

  -- Notes the writes of the changed invites and candidates. Runs after the rule.
  function save_changes()
    for _, invite in pairs(work.changed) do
      local note = invite.fresh
      local name, length = note[2], #note
      for id, candidate in pairs(invite.touched) do
        if length >= MOST_WORDS then
          add('hash', note)
          note, length = { 'HSET', name }, 2
        end
        note[length + 1], note[length + 2] = '@' .. id, candidate_text(invite, candidate)
        length = length + 2
      end
      if length > 2 then
        add('hash', note)
      end
      if invite.kind.save then
        invite.kind.save(invite)
      end
      if invite.has_ended and not is_group(invite) then
        remove_what_is_over(invite, name)
      end
      if invite.live_until then
        expire(name, invite.live_until)
      end
    end
  end
end

-- An item of a list of invitations.
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
