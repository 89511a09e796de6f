-- ringing: a device says that it rings. The first one makes the inviter hear 180; nobody is told 180 before.
--
-- Reads      the invite and its candidates
-- include: call/requests

function events.ringing(peer, user, ref, head)
  if is_passed_on('ringing', ref, user, peer, head) then
    return
  end
  local request = { type = 'ringing', peer = peer, user = user, transaction = '' }
  local invite, candidate = admit(request, ref, head)
  if not invite then
    return
  end
  if not is_pending(invite) then
    -- The device does not know yet that it is over: it must not go on ringing.
    answer_over(request, invite)
    return
  end
  candidate = enlist(invite, candidate, request)
  if candidate.state == 'CALLED' then
    set_state(invite, candidate, 'RINGING')
    invite.kind.progress(invite, 'ringing')
  end
end
