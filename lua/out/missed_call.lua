-- The missed call: its callee hears of it, with or without a device. A member of a group hears of it from the group (see
-- group/groups.lua).
-- exports: missed_call
-- include: core/emit
-- include: core/refs
-- include: call/invites
-- include: call/trunk_failure
-- include: out/notify
-- include: reach/user_states

missed_call = {}

local CODES = { ['408'] = true, ['480'] = true, ['487'] = true }

-- Is a call that ends like this missed by who has not answered it?
function missed_call.is_end(code, reason)
  return CODES[code] and reason ~= 'replaced'
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

local function tell(head, user, group, room, from_details, invite_request, code, reason)
  notify('callMissed', {}, { user }, head
    .. ',"kind":"' .. (group ~= '' and 'group","group":' .. json.quote(group) or 'direct"')
    .. (room ~= '' and ',"room":' .. json.quote(room) or '')
    .. ',"fromDetails":' .. json.opaque(from_details)
    .. ',"inviteRequest":' .. (invite_request == '1' and 'true' or 'false')
    .. ',"code":' .. code .. ',"reason":"' .. reason .. '","at":' .. int(now) .. '}')
end

-- The direct call is over.
function missed_call.note(invite)
  if missed_call.is_end(invite.code, invite.reason) and not is_group(invite) and invite.from ~= invite.to
    and not is_declined(invite) and not user_states.blocks(invite.to, invite.from) then
    tell(head_of(invite), invite.to, '', invite.room or '', invite.fromDetails, invite.inviteRequest, invite.code,
      invite.reason)
  end
end

-- In the member's shard: nobody has taken the call to the group. The leg may have never begun; its decline may be on its
-- way to the group.
function internal.call_missed(member, ref, group, room, from_details, invite_request, code, reason)
  local from, leg = inviter_of(ref), load_invite(ref)
  local is_own = leg and is_leg(leg) and leg.group == group
  if from ~= member and not (is_own and is_declined(leg)) and not user_states.blocks(member, from) then
    local head = head_of({ inviteId = string.match(ref, '|([^|]+)|'), from = from, to = member })
    tell(head, member, group, room, from_details, invite_request, code, reason)
  end
end
