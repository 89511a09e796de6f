-- getInvitations: what rings for the user now.
--
-- Arguments  peer, user, transaction (JSON or ""), what rings the user's trunks in other shards (JSON; "" nobody has looked)
-- Reads      the user's pending invites
-- include: core/commit
-- include: core/shards
-- include: reach/registry
-- include: call/invites

events.getInvitations = function(peer, user, transaction, elsewhere)
  if elsewhere == '' and shards > 1 and next(trunks_of(user)) then
    need('invitations')
  end
  local list = {}
  for _, ref in ipairs(redis.call('SMEMBERS', trust(key('pending', user)))) do
    local invite = load_invite(ref)
    if invite and is_pending(invite) then
      list[#list + 1] = invitation_json(invite)
    end
  end
  -- A list in brackets, of which only the items are wanted.
  list[#list + 1] = #elsewhere > 2 and string.sub(elsewhere, 2, -2) or nil
  local request = { type = 'getInvitations', peer = peer, user = user, transaction = transaction }
  answer(request, '{"inviteId":null,"from":null,"to":null', 200, nil, nil, list)
end
