-- ringing: a device says that it rings. The first one makes the inviter hear 180; nobody is told 180 before.
--
-- Arguments  peer, user, ref, head (how a payload about the invite begins)
-- Reads      the invite and its candidates
-- include: call/requests

events.ringing = function(peer, user, ref, about)
  if is_passed_on('ringing', ref, user, peer, about) then
    return
  end
  local request = { type = 'ringing', peer = peer, user = user, transaction = '' }
  local invite, candidate = admit(request, ref, about)
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
