-- ringing: a device says that it rings. At the first one the inviter hears 180.
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
    -- The device has not heard the end and must stop.
    answer_over(request, invite)
    return
  end
  candidate = enlist(invite, candidate, request)
  if candidate.state == 'CALLED' then
    set_state(invite, candidate, 'RINGING')
    invite.kind.progress(invite, 'ringing')
  end
end
