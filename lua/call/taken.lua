-- Another user has registered the peer id (see reach/holders.lua): this user's registration ends at once, without any
-- grace, since its connection is not there any more.
-- include: reach/holders
-- include: call/loss

-- `since` is the entry of the other user's registration.
function internal.peer_taken(user, peer, since)
  -- This is decided here: other shards have not heard of it.
  work.relayed = nil
  local old = registration(user, peer)
  if old and order.later(old.at, since) then
    holders.claim(peer, user, old.at)
  elseif old then
    local mark = mark_of(user, peer)
    note_end(mark, nil, since)
    lose(peer, user, old, mark, since, 'taken')
  end
end
