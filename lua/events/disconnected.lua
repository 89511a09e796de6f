-- unregistered, disconnected: a peer is gone, unless a later event has registered it or it is connected with another
-- session.
--
-- Arguments  session ("" where none is given); device (nil where none is given)
-- Reads      the peer's registration and end, its user's pending invites and own calls
-- include: core/commit
-- include: call/presence_changed

function events.disconnected(peer, user, session, device)
  presence_changed(presence.ended(user, peer, session ~= '' and session or nil, device))
end
