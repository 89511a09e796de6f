-- What became of a push job.
--
-- pushTaken   sippo-server has it: the inviter hears 110. If the call is over by now, the device must stop.
-- pushUnsure  it was not taken, but an attempt that had no answer may have come through: if the call is over by now,
--             or later, the device must stop. The inviter hears nothing.
-- pushGone    there is no such device any more: it is no candidate.
-- pushDropped nothing follows: it was not sent, because the call was over, or its time was; or it was a cancel.
--
-- Arguments   the invite's ref, the device
-- include: parts/legs

-- Counts the candidate as pushed. Says whether its invite rings, and the device with it.
local function push_arrived(invite, candidate)
  if candidate.state == 'PUSHING' then
    set_state(invite, candidate, 'PUSHED')
    return true
  elseif candidate.state == 'REJECTED' or candidate.state == 'CANCELLED' then
    cancel(invite, { candidate }, cancel_words(invite, candidate))
  end
  return false
end

local function pushed_candidate(ref, device)
  local invite = load_invite(ref)
  local candidate = invite and candidates_of(invite)[device]
  if candidate and candidate.type == 'PUSH' then
    return invite, candidate
  end
end

events.pushTaken = function(ref, device)
  local invite, candidate = pushed_candidate(ref, device)
  if not invite or not push_arrived(invite, candidate) then
    return
  end
  if is_leg(invite) then
    emit(invite.group, 'leg_progress', group_ref(invite), 'pushed')
  elseif not invite.pushed then
    change(invite, 'pushed', '1')
    if not invite.ringing then
      tell_progress(invite)
    end
  end
end

events.pushUnsure = function(ref, device)
  local invite, candidate = pushed_candidate(ref, device)
  if invite then
    push_arrived(invite, candidate)
  end
end

events.pushGone = function(ref, device)
  local invite, candidate = pushed_candidate(ref, device)
  if invite and is_pending(invite) and IN[candidate.state] then
    set_state(invite, candidate, 'GONE', 480)
    finish_if_deserted(invite)
  end
end

events.pushDropped = function()
end
