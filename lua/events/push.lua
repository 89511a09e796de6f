-- The results of a push job.
--
-- pushTaken    sippo-server has taken the push. The inviter gets 110. If the call is over, the device must stop.
-- pushUnsure   sippo-server has not confirmed the push and may have taken it. If the call is over, or ends later, the
--              device must stop. The inviter gets nothing.
-- pushGone     the device no longer exists. It is no candidate.
-- pushDropped  the push worker has sent nothing (the call or the job's time was over), or the job was a cancel.
-- include: core/commit
-- include: call/ending
-- include: out/devices

-- The invite and the pushed candidate. Its device may have registered meanwhile and have a peer id.
local function pushed_candidate(ref, device)
  local invite = load_invite(ref)
  local candidates = invite and candidates_of(invite) or {}
  if candidates[push_id(device)] then
    return invite, candidates[push_id(device)]
  end
  for _, candidate in pairs(candidates) do
    if same_device(candidate, device, device) and owner(candidate) == invite.to then
      return invite, candidate
    end
  end
end

-- Marks the candidate as pushed, or stops a device whose ringing is over. Returns true when it is pushed.
local function push_arrived(invite, candidate, device)
  if candidate.type == 'PUSH' and candidate.state == 'PUSHING' then
    candidate.pushedAt = now
    set_state(invite, candidate, 'PUSHED')
    return true
  elseif candidate.also == 'PUSHING' and IN[candidate.state] then
    candidate.also, candidate.pushedAt = 'PUSHED', candidate.pushedAt or 0
    touch(invite, candidate)
    return true
  end
  if candidate.state == 'REJECTED' or (LATE[candidate.state] and not is_pending(invite)) then
    local pushed = push_candidate(candidate.address, device)
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
  elseif candidate and candidate.push and is_pending(invite) then
    candidate.push, candidate.also = nil, nil
    touch(invite, candidate)
  end
end

function events.pushDropped(ref, device)
end
