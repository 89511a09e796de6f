-- What the users of a call learn of its end: the callee that it has missed the call, with or without a device, and both
-- from their history (see events/calls_seen.lua). A member of a group hears of a missed call from the group (see
-- group/groups.lua).
-- exports: ended_call
-- include: core/emit
-- include: core/refs
-- include: call/invites
-- include: call/trunk_failure
-- include: out/notify
-- include: reach/user_states

ended_call = {}

local MISSED = { ['408'] = 'DECLINED_BY_TIMEOUT', ['480'] = 'DECLINED', ['487'] = 'DECLINED_BY_CREATOR' }
local MOST_DETAILS = 1024 -- bytes of a name that the history keeps; any JSON may stand there

-- Does a callee who has not answered miss a call that ends like this?
function ended_call.is_missed(code, reason)
  return MISSED[code] and reason ~= 'replaced'
end

-- Has the callee said no, with any device? A trunk that cannot connect the call speaks for itself.
local function is_declined(invite)
  for _, candidate in pairs(candidates_of(invite)) do
    if candidate.state == 'DECLINED'
      and not (candidate.type == 'PSTN' and trunk_failure.is_told_by(candidate.endReason)) then
      return true
    end
  end
  return false
end

-- A call is over: a direct one, one to a group, or the leg of a member. `is_missed` when the group says so. The callee
-- learns nothing of an inviter whom it blocks at that time.
function ended_call.note(call, is_missed)
  if call.probe then
    return
  end
  local is_callees = call.from ~= call.to and not is_group(call)
  if is_callees and call.state ~= 'ACCEPTED' then
    local _, _, _, blocked = user_states.read(redis.call('GET', key('user-state', call.to)) or '|||')
    is_callees = not string.find(blocked, '|' .. call.from .. '|', 1, true)
  end
  is_missed = is_callees and (is_missed or (not call.group and ended_call.is_missed(call.code, call.reason)))
    and not is_declined(call)
  local details = json.opaque(call.fromDetails)
  local facts = (call.group and ',"group":' .. quoted[call.group] or '')
    .. (call.room and ',"room":' .. quoted[call.room] or '')
    .. ',"inviteRequest":' .. (call.inviteRequest == '1' and 'true' or 'false')
    .. ',"code":' .. call.code .. ',"reason":"' .. call.reason .. '"'
  if is_missed then
    notify('callMissed', '[]', '[' .. quoted[call.to] .. ']', head_of(call) .. facts .. ',"fromDetails":' .. details
      .. ',"kind":"' .. (call.group and 'group' or 'direct') .. '","at":' .. int(now) .. '}')
  end
  if settings.keep_history > 0 then
    facts = head_of(call) .. facts .. ',"fromDetails":' .. (#details <= MOST_DETAILS and details or 'null')
      .. ',"state":"' .. call.state .. '"'
      .. (call.whoAccepted and ',"whoAccepted":' .. quoted[call.whoAccepted] or '')
      .. ',"startedAt":' .. call.createdAt .. ',"endedAt":' .. call.endedAt
    if not is_leg(call) then
      emit(call.from, 'call_kept', call.ref, call.endedAt, '0', facts .. ',"direction":"out"}')
    end
    if is_callees then
      emit(call.to, 'call_kept', call.ref, call.endedAt, is_missed and '1' or '0', facts .. ',"direction":"in"}')
    end
  end
end

-- In the member's shard: nobody has taken the call to the group. The leg may have never begun; its decline may be on its
-- way to the group.
function internal.call_missed(member, ref, group, room, from_details, invite_request, code, reason, created_at)
  local leg = load_invite(ref)
  ended_call.note({
    ref = ref, inviteId = string.match(ref, '|([^|]+)|'), from = inviter_of(ref), to = member, group = group,
    kind = kinds.leg, candidates = leg and leg.group == group and candidates_of(leg) or {},
    room = room ~= '' and room or nil, fromDetails = from_details, inviteRequest = invite_request,
    state = MISSED[code], code = code, reason = reason, createdAt = created_at, endedAt = int(now),
  }, true)
end
