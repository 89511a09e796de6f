-- What became of a push job.
--
-- pushTaken   sippo-server has it: the inviter hears 110. If the call is over by now, the device must stop.
-- pushUnsure  it was not taken, but an attempt that had no answer may have come through: if the call is over by now,
--             or later, the device must stop. The inviter hears nothing.
-- pushGone    there is no such device any more: it is no candidate.
-- pushDropped nothing follows: it was not sent, because the call was over, or its time was; or it was a cancel.
-- include: core/commit
-- include: call/ending
-- include: out/devices

-- The candidate that was pushed: perhaps its device is there by now, under a peer id.
local function pushed_candidate(ref, device)
  local invite = load_invite(ref)
  return invite, invite and candidate_of_device(invite, device, device)
end

-- Counts the candidate as pushed. Says whether its invite rings, and the device with it.
local function push_arrived(invite, candidate, device)
  if candidate.type == 'PUSH' and candidate.state == 'PUSHING' then
    set_state(invite, candidate, 'PUSHED')
    return true
  end
  if candidate.state == 'REJECTED' or (LATE[candidate.state] and not is_pending(invite)) then
    local pushed = { id = device, address = candidate.address, type = 'PUSH', state = candidate.state }
    cancel(invite, { pushed }, cancel_words(invite, candidate))
  end
  return false
end

function events.pushTaken(ref, device)
  local invite, candidate = pushed_candidate(ref, device)
  if candidate and push_arrived(invite, candidate, device) then
    invite.kind.progress(invite, 'pushed')
  end
end

function events.pushUnsure(ref, device)
  local invite, candidate = pushed_candidate(ref, device)
  if candidate then
    push_arrived(invite, candidate, device)
  end
end

function events.pushGone(ref, device)
  local invite, candidate = pushed_candidate(ref, device)
  if candidate and candidate.type == 'PUSH' and is_pending(invite) and IN[candidate.state] then
    set_state(invite, candidate, 'GONE', 480)
    finish_if_deserted(invite)
  end
end

function events.pushDropped(ref, device)
end
