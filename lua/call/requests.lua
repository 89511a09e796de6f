-- What accept, decline and ringing have in common: which invite a peer speaks of, and whether it may.
-- include: core/commit
-- include: core/emit
-- include: core/refs
-- include: reach/registry
-- include: call/ending

-- The candidate that the peer stands for: its own, or that of its device.
local function candidate_of_request(invite, request)
  local candidate = candidates_of(invite)[request.peer]
  if candidate and owner(candidate) ~= request.user then
    candidate = nil
  end
  local device = not candidate and device_of(request.user, request.peer)
  if device then
    local same = candidate_of_device(invite, request.peer, device)
    candidate = same and owner(same) == request.user and same or nil
  end
  return candidate
end

-- An answer may name the group, when what is meant is the member's leg: if that is in another shard, the answer goes there.
local function is_passed_on(rule, ref, user, ...)
  local invite = load_invite(ref)
  if invite and is_group(invite) and not is_here(user) then
    emit(user, 'answered', rule, invite.to, with_callee(ref, user), user, ...)
    return true
  end
  return false
end

function internal.answered(_, rule, group, ref, user, peer, ...)
  work.named = group
  events[rule](peer, user, ref, ...)
end

-- The invite and the candidate that the peer stands for (nil: a peer of the callee that is none yet). Nothing, once
-- the peer was answered that there is no such invite (404) or that it is not its own (403).
local function admit(request, ref, head)
  local invite, group = load_invite(ref), work.named
  if invite and is_group(invite) then
    group = invite.to
    invite = load_invite(with_callee(ref, request.user))
  end
  if group then
    -- The answer names the group: what is meant is the member's leg. A member who was left out has an invite of that
    -- ref that is no leg.
    invite = invite and invite.group == group and invite or nil
  elseif invite then
    invite.head = head
  end
  if not invite then
    answer(request, head, 404, 'not_found')
    return nil
  end
  local candidate = candidate_of_request(invite, request)
  if is_hidden(invite) and not (candidate and candidate.type == 'PSTN') then
    answer(request, head, 404, 'not_found')
    return nil
  end
  local inviter = request.peer == invite.caller and request.user == invite.from
  if inviter or (not candidate and request.user ~= invite.to) then
    answer(request, head, 403, 'forbidden')
    return nil
  end
  return invite, candidate
end

-- The candidate of the peer, made one if it is a device that nobody had rung.
local function enlist(invite, candidate, request)
  if candidate then
    rename_candidate(invite, candidate, request.peer)
    return candidate
  end
  candidate = {
    id = request.peer,
    address = request.user,
    type = 'PEER',
    state = 'CALLED',
    device = device_of(request.user, request.peer),
  }
  add_candidate(invite, candidate)
  return candidate
end

local function answer_over(request, invite)
  answer(request, head_of(invite), 410, invite.reason, invite.whoAccepted)
end

-- The inviter, or a service, stops the invite.
local function stop(invite, code)
  finish(invite, 'DECLINED_BY_CREATOR', code, 'cancelled')
end

local function answer_stop(request, invite)
  if invite.state == 'DECLINED_BY_CREATOR' and invite.reason == 'cancelled' then
    answer(request, head_of(invite), 200, 'cancelled')
  else
    answer_over(request, invite)
  end
end
