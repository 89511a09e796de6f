-- invite with returnOf: the phone network routes a parallel call back. Now the user's devices ring, inside the first
-- invite. The returning leg has no record of its own; its peer gets the same notifications as the first invite's
-- inviter.
--
-- Arguments  return_of (the first invite's ref); to (the callee that the return names); lookup_result (see
--            reach/resolve.lua); device (nil where none is given)
-- Reads      the first invite, the registrations and the state of its callee
-- include: call/at_home
-- include: call/requests
-- include: out/inviter
-- include: reach/user_states

local function refuse(leg, code, reason)
  notify('inviteRejected', '[' .. quoted[leg.peer] .. ']', '[' .. quoted[leg.user] .. ']',
    leg.head .. ',"code":' .. code .. ',"reason":"' .. reason .. '"}')
end

-- Only the trunk that has the phone leg may return it, and only to the same callee. A trunk that failed no longer has
-- it.
local function may_return(invite, request, to)
  local holder = candidate_of_request(invite, request)
  return invite.parallel and invite.to == to and holder and holder.type == 'PSTN' and not holder.followed
end

function events.inviteReturn(peer, user, head, return_of, to, transaction, lookup_result, device)
  local leg = request_of('invite', peer, user, transaction, device)
  leg.head = head
  local invite = load_invite(return_of)
  if not invite then
    return refuse(leg, 410, 'not_found')
  elseif not is_pending(invite) then
    return refuse(leg, 410, invite.reason)
  elseif not may_return(invite, leg, to) then
    return refuse(leg, 403, 'forbidden')
  end
  change(invite, 'backPeer', peer)
  change(invite, 'backUser', user)
  if invite.parallel ~= 'back' then
    if user_states.refuses(invite.to, invite.from) then
      info('undisturbed', invite.to, invite.from)
      return finish(invite, 'DECLINED', 480, 'unreachable')
    end
    call_at_home(invite, lookup_result)
    if not is_pending(invite) then
      return
    end
  end
  tell_progress(invite, transaction, leg)
end
