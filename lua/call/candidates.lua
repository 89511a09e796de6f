-- Candidates: the ways to reach a callee. Each is a field of its invite: "@" and the candidate's id -> a text,
--
--   STATE:code device {more}
--
-- of which only the state always stands there. `more` are the rest of the candidate's fields in JSON, without an `address`
-- that is the callee and a `type` that is PEER. (Before 0.2.0 the whole candidate was JSON.)
--
-- A candidate is in while its state is
--   CALLED    its invitation is sent
--   RINGING   the device has said that it rings
--   AWAY      the device is lost and may come back within its grace
--   PUSHING   a push job is written
--   PUSHED    sippo-server has taken the push
-- and out once its state is
--   ACCEPTED, DECLINED
--   GONE      the device is lost permanently
--   REJECTED  its user is busy with another call
--   CANCELLED
--
-- Few candidates have the fields
--   push      sippo-server has listed the device for push
--   unheard   the device has not had the invitation over a connection
--   also      the device has been pushed beside its connection: PUSHING, then PUSHED
--   rejected  the device has declined after it was REJECTED
--   declined  the peer that has declined for its connection alone, while the device was connected
--   silenced  the device hears no further invitation
--   missed    the device was away at the end
--   toldAt    when the device, connected, was told that its user is busy with another call (ms since 1970)
--   pushedAt  when sippo-server has taken the push (ms since 1970); 0 once the device has connected
-- include: core/unit
-- include: core/json
-- include: core/story
-- include: call/kinds

local IN = { CALLED = true, RINGING = true, AWAY = true, PUSHING = true, PUSHED = true }

-- The device may still ring although its candidate is out.
local LATE = { CANCELLED = true, GONE = true, REJECTED = true }

-- The id of a push candidate. A device id may equal another device's peer id; with "|" it cannot.
local function push_id(device)
  return '|' .. device
end

-- The candidate's peer id, or device id for a push. (124 is "|".)
local function name_of(candidate)
  local id = candidate.id
  return string.byte(id) == 124 and string.sub(id, 2) or id
end

local candidates_of, read_candidate, touch

do
  -- A release before 0.2.0 kept the candidates in a hash of their own. This moves them.
  local function move_candidates(invite, candidates)
    local name = key('candidates', invite.ref)
    local flat = redis.call('HGETALL', name)
    for i = 1, #flat, 2 do
      local candidate = cjson.decode(flat[i + 1])
      candidate.id = flat[i]
      candidates[candidate.id] = candidate
      touch(invite, candidate)
    end
    if flat[1] then
      later({ 'DEL', name })
    end
  end

  -- The candidate that a text stands for.
  function read_candidate(invite, id, text)
    local state, code, device, more = string.match(text, '^(%u+):?(%d*) ?([^ {]*) ?(.*)$')
    local candidate
    if not state then
      candidate = cjson.decode(text)
    elseif more == '' then
      candidate = {
        id = id, address = invite.to, type = 'PEER', state = state, endReason = nil, device = nil, session = nil, also = nil,
      }
    else
      candidate = cjson.decode(more)
      candidate.address, candidate.type = candidate.address or invite.to, candidate.type or 'PEER'
    end
    candidate.id = id
    if state then
      candidate.state = state
      candidate.endReason = code ~= '' and numbers[code] or nil
      candidate.device = device ~= '' and device or nil
    end
    return candidate
  end

  -- The candidates of an invite by id. Each event decodes them once.
  function candidates_of(invite)
    if invite.candidates then
      return invite.candidates
    end
    local candidates = invite.stored -- each text becomes its candidate
    for id, stored in pairs(candidates) do
      candidates[id] = read_candidate(invite, id, stored)
    end
    if not next(candidates) and not is_group(invite) then
      move_candidates(invite, candidates)
    end
    invite.candidates = candidates
    return candidates
  end
end

function touch(invite, candidate)
  work.changed[invite.ref] = invite
  invite.touched[candidate.id] = candidate
end

local function set_state(invite, candidate, state, reason)
  candidate.state = state
  candidate.endReason = reason
  touch(invite, candidate)
end

-- The candidates change. (A changed invite writes its story.)
local function name_all(invite)
  if invite.story or invite.heard then
    story.name_all(invite, function()
      local ids = {}
      for id in pairs(candidates_of(invite)) do
        ids[#ids + 1] = id
      end
      return json.strings(ids)
    end)
  end
end

local function add_candidate(invite, candidate)
  name_all(invite)
  candidates_of(invite)[candidate.id] = candidate
  touch(invite, candidate)
end

local function remove_candidate(invite, candidate)
  name_all(invite)
  invite.candidates[candidate.id] = nil
  invite.touched[candidate.id] = nil
  later({ 'HDEL', key('invite', invite.ref), '@' .. candidate.id })
end

-- The device of a candidate is connected under another peer id.
local function rename_candidate(invite, candidate, peer)
  if candidate.id ~= peer then
    remove_candidate(invite, candidate)
    candidate.id = peer
    add_candidate(invite, candidate)
  end
end

local candidate_text, candidate_for_log

do
  -- The fields that few candidates have, each with a comma before it.
  local function rare_fields(candidate)
    if not (candidate.user or candidate.told or candidate.context or candidate.push or candidate.unheard or candidate.silenced
      or candidate.followed or candidate.confirm or candidate.missed or candidate.toldAt or candidate.rejected) then
      return ''
    end
    return (candidate.push and ',"push":true' or '')
      .. (candidate.unheard and ',"unheard":true' or '')
      .. (candidate.also and ',"also":"' .. candidate.also .. '"' or '')
      .. (candidate.pushedAt and ',"pushedAt":' .. int(candidate.pushedAt) or '')
      .. (candidate.declined and ',"declined":' .. quoted[candidate.declined] or '')
      .. (candidate.user and ',"user":' .. quoted[candidate.user] or '')
      .. (candidate.told and ',"told":true' or '')
      .. (candidate.toldAt and ',"toldAt":' .. int(candidate.toldAt) or '')
      .. (candidate.rejected and ',"rejected":true' or '')
      .. (candidate.silenced and ',"silenced":true' or '')
      .. (candidate.followed and ',"followed":true' or '')
      .. (candidate.missed and ',"missed":true' or '')
      .. (candidate.confirm and ',"confirm":true' or '')
      .. (candidate.context and ',"context":' .. quoted[candidate.context] or '')
  end

  -- The candidate as it is stored.
  function candidate_text(invite, candidate)
    local text = candidate.endReason and candidate.state .. ':' .. digits[candidate.endReason] or candidate.state
    if candidate.device then
      text = text .. ' ' .. candidate.device
    end
    local more = rare_fields(candidate)
    if candidate.session then
      more = ',"session":' .. quoted[candidate.session] .. more
    end
    if candidate.address ~= invite.to then
      more = ',"address":' .. quoted[candidate.address] .. more
    end
    if candidate.type ~= 'PEER' then
      more = ',"type":"' .. candidate.type .. '"' .. more
    end
    return more == '' and text or text .. ' {' .. string.sub(more, 2) .. '}'
  end

  -- For the log: with the peer, or the device of a push. Nothing else may tell two devices of a user apart.
  function candidate_for_log(candidate)
    return '{"peer":' .. json.quote(name_of(candidate)) .. ',"address":' .. json.quote(candidate.address)
      .. ',"type":"' .. candidate.type .. '","state":"' .. candidate.state .. '"'
      .. (candidate.endReason and ',"endReason":' .. digits[candidate.endReason] or '')
      .. (candidate.device and ',"device":' .. json.quote(candidate.device) or '')
      .. (candidate.session and ',"session":' .. json.quote(candidate.session) or '')
      .. rare_fields(candidate) .. '}'
  end
end

-- Was the device told that its user is busy with another call?
local function is_rejected(candidate)
  return candidate.state == 'REJECTED' or candidate.rejected
end

-- Has the device declined for its connection alone? Another of its connections may ring.
local function has_declined_for_connection(candidate)
  return candidate.state == 'DECLINED' and (candidate.endReason == 480 or candidate.endReason == 503)
    and not candidate.rejected
end

-- The user of the candidate's peer.
local function owner(candidate)
  return candidate.user or candidate.address
end

-- Has another user a candidate with this peer id? A trunk may have the peer id of a user's device (see reach/holders.lua).
local function is_of_other_user(invite, user, peer)
  local found = candidates_of(invite)[peer]
  return found ~= nil and owner(found) ~= user
end

-- Two peers are the same device if their device ids are equal; without device ids, if their peer ids are. The id of a
-- device that a push can wake stands for both.
local function same_device(candidate, peer, device)
  if candidate.device and device then
    return candidate.device == device
  end
  return name_of(candidate) == peer
end

-- The accepts of a leg that the group's shard decides about (see group/legs.lua).
local function claims_of(invite)
  return invite.claims and cjson.decode(invite.claims) or {}
end

-- Has the device accepted, while another shard decides? Then it may have won already.
local function has_claimed(invite, candidate)
  for _, request in ipairs(claims_of(invite)) do
    if request.user == owner(candidate)
      and (request.peer == candidate.id or same_device(candidate, request.peer, request.device)) then
      return true
    end
  end
  return false
end

-- Does the device know the call, and must not ring for it?
local function is_quiet(invite, candidate)
  return candidate.silenced or (invite.claims and has_claimed(invite, candidate))
end

-- The candidate of the user's peer, or of its device under another peer id.
local function candidate_of_device(invite, user, peer, device)
  local candidates = candidates_of(invite)
  local found = candidates[peer]
  if not found or owner(found) ~= user then
    found = candidates[push_id(device or peer)]
  end
  if found and owner(found) == user then
    return found
  end
  if device then
    for _, candidate in pairs(candidates) do
      if candidate.device == device and owner(candidate) == user then
        return candidate
      end
    end
  end
  return nil
end

local function count_candidates(invite)
  local inside, ringing, pushed = 0, 0, 0
  for _, candidate in pairs(candidates_of(invite)) do
    if IN[candidate.state] then
      inside = inside + 1
      if candidate.state == 'RINGING' then
        ringing = ringing + 1
      elseif (candidate.state == 'PUSHED' and candidate.pushedAt) or candidate.also == 'PUSHED' then
        pushed = pushed + 1
      end
    end
  end
  return inside, ringing, pushed
end

local best_response

do
  -- The reasons for codes that no device sent: from a group's legs, and from lookups.
  local FOUND_OUT = { [403] = 'too_many', [408] = 'timeout', [487] = 'cancelled', [500] = 'internal' }

  -- The code and reason of an invite that nobody can accept any more (RFC 3261, 16.7). A 6xx wins, then the lowest
  -- class; in a class a device's own answer wins over a code that the rules set, and 486 over others. Also returns
  -- whose answer it is, if it is a device's.
  function best_response(invite)
    local best
    for _, candidate in pairs(candidates_of(invite)) do
      local code = candidate.endReason
      if code and not IN[candidate.state] then
        local class = math.floor(code / 100)
        local rank = (class == 6 and 0 or class) * 10000
          + (candidate.state == 'DECLINED' and 0 or candidate.state == 'REJECTED' and 1000 or 2000)
          + (code == 486 and 0 or code)
        if not best or rank < best.rank then
          best = { rank = rank, code = code, state = candidate.state, context = candidate.context }
        end
      end
    end
    if not best then
      return 480, 'unreachable'
    elseif best.code == 486 then
      return 486, 'busy', best
    elseif best.state == 'DECLINED' then
      return best.code, 'declined', best
    end
    return best.code, FOUND_OUT[best.code] or 'unreachable'
  end
end
