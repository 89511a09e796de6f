-- The common part of accept, decline, ringing and stopInvite: which invite a peer means, and whether it may answer
-- it.
-- include: core/commit
-- include: core/emit
-- include: core/refs
-- include: reach/registry
-- include: call/ending

-- The candidate of the peer, or of its device under another peer id.
-- The device that the event names overrides the registration's.
local function candidate_of_request(invite, request)
  local candidate = candidates_of(invite)[request.peer]
  if candidate and owner(candidate) == request.user then
    return candidate
  end
  local device = request.device or registry.device(request.user, request.peer)
  return candidate_of_device(invite, request.user, request.peer, device)
end

-- An answer that names the group means the member's leg. Passes it on when that leg is in another shard.
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

-- Returns the invite and the peer's candidate (nil for a peer of the callee that is no candidate yet). Returns nil
-- after answering the peer 404 (there is no such invite) or 403 (it is not the peer's).
local function admit(request, ref, head)
  local invite, group = load_invite(ref), work.named
  if invite and is_group(invite) then
    group = invite.to
    invite = load_invite(with_callee(ref, request.user))
  end
  if group then
    -- The answer means the member's leg. A member who was left out has an invite with that ref, which is no leg; so
    -- has a user with the group's id: the group's own invite.
    invite = invite and is_leg(invite) and invite.group == group and invite or nil
  elseif invite then
    invite.head = head
  end
  if not invite then
    answer(request, head, 404, 'not_found')
    return nil
  end
  request.ref = invite.ref
  local candidate = candidate_of_request(invite, request)
  if is_hidden(invite) and (invite.held or not (candidate and candidate.type == 'PSTN')) then
    answer(request, head, 404, 'not_found')
    return nil
  end
  local inviter = request.peer == invite.caller and request.user == invite.from
  if inviter or (not candidate and request.user ~= invite.to)
    or is_of_other_user(invite, request.user, request.peer) then
    answer(request, head, 403, 'forbidden')
    return nil
  end
  return invite, candidate
end

-- The sender of an event. `device` is the hardware that the event names, `context` is for the inviter (JSON); "" or nil
-- for none.
local function request_of(type, peer, user, transaction, device, context)
  local request = { type = type, peer = peer, user = user, transaction = transaction, ref = nil }
  if device and device ~= '' then
    request.device = device
  end
  if context and context ~= '' then
    request.context = context
  end
  return request
end

local function answer_over(request, invite)
  answer(request, head_of(invite), 410, invite.reason, invite.whoAccepted)
end

-- The inviter, or a service, takes the invite back.
local function stop(invite, code)
  finish(invite, 'DECLINED_BY_CREATOR', code, 'cancelled')
end

local function answer_stop(request, invite)
  request.ref = invite.ref
  if invite.held then
    local stops = invite.stops and cjson.decode(invite.stops) or {}
    stops[#stops + 1] = request
    return change(invite, 'stops', cjson.encode(stops))
  end
  local deadline = tonumber(invite.expiresAt)
  -- The deadline has ended the invite, and the inviter had stopped it before.
  local in_time = invite.state == 'DECLINED_BY_TIMEOUT' and tonumber(invite.endedAt) >= deadline
    and order.split(work.entry) < deadline
  if in_time or invite.legsReason == 'cancelled'
    or (invite.state == 'DECLINED_BY_CREATOR' and invite.reason == 'cancelled') then
    answer(request, head_of(invite), 200, 'cancelled')
  else
    answer_over(request, invite)
  end
end
