-- getInvitations: answers the pending invites that ring for the user, 200 and 256 KiB at most. Those for which the user
-- is busy elsewhere are left out.
--
-- Arguments  other_shards (invites that ring the user's trunks there, a JSON list; "" when the worker has not asked)
-- Reads      the user's pending invites; with onlyOneDeviceWithInvitations their candidates
-- include: core/commit
-- include: core/shards
-- include: reach/registry
-- include: call/requests

local MOST, MOST_BYTES = 200, 262144

-- (Candidates are rejected only with this setting.)
local function is_turned_away(invite, request)
  local candidate = settings.only_one_device_with_invitations and candidate_of_request(invite, request)
  return candidate and candidate.state == 'REJECTED'
end

function events.getInvitations(peer, user, transaction, other_shards)
  if other_shards == '' and shards > 1 and next(trunks_of(user)) then
    need('invitations')
  end
  local request = { type = 'getInvitations', peer = peer, user = user, transaction = transaction }
  local list, bytes = {}, #other_shards
  local pending = key('pending', user)
  local refs = redis.call('SRANDMEMBER', pending, MOST + 1)
  trust(pending)
  local more = #refs > MOST
  for i = 1, math.min(#refs, MOST) do
    local invite = load_invite(refs[i])
    if invite and is_pending(invite) and not is_group(invite) and not is_turned_away(invite, request) then
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
