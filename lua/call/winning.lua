-- A device wins: it has the call, and all others stop.
-- include: call/enlist
-- include: call/requests
-- include: call/ending

-- Answers an accept after the end. The winner's repeat gets 200.
local function answer_late(invite, request, candidate)
  if candidate and candidate.state == 'ACCEPTED' then
    answer(request, head_of(invite), 200, 'accepted', invite.whoAccepted)
  else
    answer_over(request, invite)
  end
end

local win

do
  -- The user is busy. Its other invites stop on all devices except the accepting one.
  local function reject_others(accepted, winner, request)
    local pending = key('pending', accepted.to)
    info('rejecting', accepted.to, '{"id":' .. json.quote(request.peer) .. ',"user":' .. json.quote(request.user) .. '}')
    for _, ref in ipairs(redis.call('SMEMBERS', trust(pending))) do
      local invite = ref ~= accepted.ref and load_invite(ref)
      if invite and is_pending(invite) and invite.to == accepted.to and not is_hidden(invite) and not is_group(invite)
      then
        local rejected = {}
        for _, candidate in pairs(candidates_of(invite)) do
          if IN[candidate.state] and not same_device(candidate, winner.id, winner.device) then
            if candidate.state ~= 'PUSHING' then
              rejected[#rejected + 1] = candidate
            end
            set_state(invite, candidate, 'REJECTED', 486)
          end
        end
        cancel(invite, rejected, 486, 'busy_elsewhere')
        if invite.kind.count(invite) == 0 then
          finish(invite, 'DECLINED', 486, 'busy')
        end
      end
    end
  end

  function win(invite, request, candidate)
    local winner = enlist(invite, candidate, request)
    if request.context or winner.context then
      winner.context = request.context
      note_context(invite, winner)
    end
    finish(invite, 'ACCEPTED', 200, 'accepted', winner)
    answer(request, head_of(invite), 200, 'accepted', invite.whoAccepted)
    if settings.only_one_device_with_invitations and request.user == invite.to then
      reject_others(invite, winner, request)
    end
  end
end

kinds.direct.accept = win
