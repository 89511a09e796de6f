-- getInvitations: answers the pending invites that ring for the user, 50 and 256 KiB at most. Those that the device has
-- declined or silenced, or for which its user is busy elsewhere, are left out.
--
-- Arguments  other_shards (invites that ring the user's trunks there, a JSON list; "" when the worker has not asked)
-- Reads      the user's pending invites and their candidates; with a device the user's own calls
-- include: core/commit
-- include: core/shards
-- include: reach/registry
-- include: call/callers
-- include: call/requests

local MOST, MOST_BYTES = 50, 262144

local function is_turned_away(invite, request)
  -- Most devices are candidates under the id of their peer: one of perhaps many is decoded.
  local stored = invite.stored[request.peer]
  local candidate = type(stored) == 'string' and read_candidate(invite, request.peer, stored) or stored
  local is_own = candidate and owner(candidate) == request.user
  if not is_own then
    candidate = candidate_of_request(invite, request)
  end
  if not candidate then
    return invite.alone or invite.from == invite.to
  elseif candidate.silenced or candidate.followed then
    return true
  elseif has_declined_for_connection(candidate) then
    return is_own
  end
  return candidate.declined == request.peer or candidate.state == 'REJECTED' or candidate.state == 'DECLINED'
end

function events.getInvitations(peer, user, transaction, other_shards, device)
  if other_shards == '' and shards > 1 and next(trunks.of(user)) then
    need('invitations')
  end
  local request = request_of('getInvitations', peer, user, transaction, device)
  if device then
    internal.device_speaks(user, peer, device)
  end
  local list, bytes = {}, #other_shards
  local pending = key('pending', user)
  local refs = redis.call('SRANDMEMBER', pending, MOST + 1)
  trust(pending)
  local more = #refs > MOST
  for i = 1, math.min(#refs, MOST) do
    local invite = load_invite(refs[i])
    if invite and is_pending(invite) and not is_group(invite) and not invite.held
      and not is_turned_away(invite, request) then
      local invitation = invitation_json(invite)
      bytes = bytes + #invitation
      if bytes > MOST_BYTES then
        more = true
        break
      end
      list[#list + 1] = invitation
    end
  end
  -- The items of the list, without its brackets.
  list[#list + 1] = #other_shards > 2 and string.sub(other_shards, 2, -2) or nil
  answer(request, '{"inviteId":null,"from":null,"to":null', 200, nil, nil, list, more)
end
