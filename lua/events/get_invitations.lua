-- getInvitations: what rings for the user now.
--
-- Arguments  other_shards (what rings the user's trunks there, JSON; "" when nobody has looked)
-- Reads      the user's pending invites
-- include: core/commit
-- include: core/shards
-- include: reach/registry
-- include: call/invites

function events.getInvitations(peer, user, transaction, other_shards)
  if other_shards == '' and shards > 1 and next(trunks_of(user)) then
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
  list[#list + 1] = #other_shards > 2 and string.sub(other_shards, 2, -2) or nil
  local request = { type = 'getInvitations', peer = peer, user = user, transaction = transaction }
  answer(request, '{"inviteId":null,"from":null,"to":null', 200, nil, nil, list)
end
