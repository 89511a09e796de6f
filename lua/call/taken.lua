-- Another user has registered the peer id (see reach/holders.lua): this user's registration ends at once, without any
-- grace, since its connection is not there any more.
-- include: reach/holders
-- include: call/loss
-- include: reach/presence

-- `since` is the entry of the other user's registration.
function internal.peer_taken(user, peer, since)
  local old = registry.find(user, peer)
  if not old or old.trunk then
    return
  elseif order.later(old.at, since) then
    holders.claim(peer, user, old.at)
  else
    local mark = presence.mark_of(user, peer)
    presence.note_end(mark, nil, since)
    lose(peer, user, old, mark, since, 'taken')
  end
end
