-- silence: a device stops by itself and stays a candidate. Nobody else is notified; no further invitation reaches it.
--
-- Arguments  device (nil where none is given)
-- Reads      the invite and its candidates
-- include: call/enlist
-- include: call/requests

function events.silence(peer, user, ref, head, transaction, device)
  if is_passed_on('silence', ref, user, peer, head, transaction, device) then
    return
  end
  local request = request_of('silence', peer, user, transaction, device)
  local invite, candidate = admit(request, ref, head)
  if not invite then
    return
  elseif not is_pending(invite) then
    answer_over(request, invite)
    return
  end
  candidate = enlist(invite, candidate, request)
  candidate.silenced = true
  touch(invite, candidate)
  answer(request, head_of(invite), 200, 'silenced')
end
