-- decline: a code of 600 or above is the user's decision and ends the invite. With a lower code only this device is
-- out, with 480 or 503 only this connection of it; the invite ends with the best response when no device is left. An
-- inviter that declines takes its invite back, unless it is a trunk that rings.
--
-- Arguments  error_code ("" where none is given); context, device (nil or "" where none is given)
-- Reads      the invite and its candidates
-- include: call/enlist
-- include: call/requests
-- include: call/ending
-- include: call/trunk_failure
-- include: call/waking

local function decline_by_inviter(invite, request, error_code)
  if is_pending(invite) then
    stop(invite, tonumber(error_code) or 487)
  end
  answer_stop(request, invite)
end

-- The call belongs to another trunk of the same user.
local function rings_as_trunk(invite, request)
  local candidate = candidate_of_request(invite, request)
  return candidate and candidate.type == 'PSTN'
end

function events.decline(peer, user, ref, head, from, to, error_code, transaction, context, device)
  local request = request_of('decline', peer, user, transaction, device, context)
  if user == from then
    local own = load_invite(ref)
    if own and (user ~= to or is_group(own) or peer == own.caller) and not rings_as_trunk(own, request) then
      decline_by_inviter(own, request, error_code)
      return
    end
  end
  if is_passed_on('decline', ref, user, peer, head, from, to, error_code, transaction, context, device) then
    return
  end
  local invite, candidate = admit(request, ref, head)
  if not invite then
    return
  end
  local code = tonumber(error_code) or 603
  work.code = int(code)
  local reason = code == 486 and 'busy' or 'declined'
  if not is_pending(invite) then
    if candidate and candidate.state == 'DECLINED' then
      answer(request, head_of(invite), 200, reason)
    else
      answer_over(request, invite)
    end
    return
  end
  local was_in = candidate and IN[candidate.state]
  candidate = enlist(invite, candidate, request)
  candidate.context, candidate.rejected = request.context, is_rejected(candidate)
  set_state(invite, candidate, 'DECLINED', code)
  if candidate.push and has_declined_for_connection(candidate) then
    -- The device may ring under another connection, so the call waits for it.
    candidate.declined = peer
    waking.sleep(invite, candidate, 'PUSHED')
    return answer(request, head_of(invite), 200, reason)
  end
  if code >= 600 then
    note_context(invite, candidate)
    finish(invite, 'DECLINED', code, reason, nil, candidate)
  elseif not (was_in and trunk_failure.is_told_by(code) and trunk_failure.follow(invite, candidate)) then
    finish_if_deserted(invite)
  end
  answer(request, head_of(invite), 200, reason)
end
