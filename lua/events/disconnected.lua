-- unregistered, disconnected: a peer is gone, unless a later event has registered it or it is there with another
-- session.
--
-- Arguments  session ("" where none is given); device (nil where none is given)
-- Reads      the peer's registration and end, its user's pending invites and own calls
-- include: core/commit
-- include: call/loss
-- include: reach/presence

function events.disconnected(peer, user, session, device)
  session = session ~= '' and session or nil
  local old, mark = registry.find(user, peer), presence.mark_of(user, peer)
  if order.later(old and old.at or mark.since, work.entry) then
    return
  end
  presence.note_end(mark, session, work.entry)
  if device then
    mark.device = device
  end
  if (old and presence.other_session(old.session, session)) or (not old and order.later(mark.lost, work.entry)) then
    -- The registration that this ends may still be on its way.
    presence.save(user, peer, mark)
    return
  end
  lose(peer, user, old, mark, presence.end_after(mark, work.entry) or work.entry)
end
