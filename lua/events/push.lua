-- What became of a push job.
--
-- pushTaken   sippo-server has it: the inviter hears 110. If the call is over by now, the device must stop.
-- pushGone    there is no such device any more: it is no candidate.
-- pushDropped it was not sent, because the call was over, or its time was.
--
-- Arguments   the invite's ref, the device
-- include: parts/legs

events.pushTaken = function(ref, device)
  local invite = load_invite(ref)
  local candidate = invite and candidates_of(invite)[device]
  if not candidate or candidate.type ~= 'PUSH' then
    return
  end
  if candidate.state == 'PUSHING' then
    set_state(invite, candidate, 'PUSHED')
    if is_leg(invite) then
      emit(invite.group, 'leg_progress', group_ref(invite), 'pushed')
    elseif not invite.pushed then
      change(invite, 'pushed', '1')
      if not invite.ringing then
        tell_progress(invite)
      end
    end
  elseif candidate.state == 'REJECTED' or candidate.state == 'CANCELLED' then
    cancel(invite, { candidate }, cancel_words(invite, candidate))
  end
end

events.pushGone = function(ref, device)
  local invite = load_invite(ref)
  local candidate = invite and is_pending(invite) and candidates_of(invite)[device]
  if candidate and candidate.type == 'PUSH' and IN[candidate.state] then
    set_state(invite, candidate, 'GONE', 480)
    finish_if_deserted(invite)
  end
end

events.pushDropped = function()
end
