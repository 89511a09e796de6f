-- accept: the first device wins, all others stop, the inviter is notified, and the record is written, all in one step.
--
-- A trunk that registers with `confirm` may have reached a mailbox: its accept wins only once it is confirmed.
--
-- Arguments  context, device, confirmed ("1"); nil or "" where none is given
-- Reads      the invite and its candidates; with onlyOneDeviceWithInvitations the user's other pending invites
-- Why atomic two devices that accept at the same time must not both win
-- include: call/winning

function events.accept(peer, user, ref, head, transaction, context, device, confirmed)
  if is_passed_on('accept', ref, user, peer, head, transaction, context, device, confirmed) then
    return
  end
  local request = request_of('accept', peer, user, transaction, device, context)
  local invite, candidate = admit(request, ref, head)
  if not invite then
    return
  elseif not is_pending(invite) then
    answer_late(invite, request, candidate)
  elseif candidate and is_rejected(candidate) then
    answer(request, head_of(invite), 410, 'busy_elsewhere')
  elseif candidate and candidate.confirm and confirmed ~= '1' then
    answer(request, head_of(invite), 202, 'confirm')
  else
    invite.kind.accept(invite, request, candidate)
  end
end
