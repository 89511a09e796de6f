-- getInvitations: what rings for the user now.
--
-- Arguments  peer, user, transaction (JSON or "")
-- Reads      the user's pending invites
-- include: parts/invites

events.getInvitations = function(peer, user, transaction)
  local list = {}
  for _, ref in ipairs(redis.call('SMEMBERS', trust(key('pending', user)))) do
    local invite = load_invite(ref)
    if invite and is_pending(invite) then
      list[#list + 1] = invitation_json(invite)
    end
  end
  local request = { type = 'getInvitations', peer = peer, user = user, transaction = transaction }
  answer(request, '{"inviteId":null,"from":null,"to":null', 200, nil, nil, list)
end
