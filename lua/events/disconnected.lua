-- unregistered, disconnected: a peer is gone, unless something later has spoken of it, or another of its sessions.
--
-- Arguments  peer, user, session ("" where none was given)
-- Reads      the peer's registration and end, its user's pending invites and own calls
-- include: parts/loss

local function disconnected(peer, user, session)
  session = session ~= '' and session or nil
  local old = registration(user, peer)
  local ended = gone(user, peer)
  if (old and order.later(old.at, work.entry)) or (ended and order.later(ended.at, work.entry)) then
    return
  end
  if old and other_session(old.session, session) then
    mark_gone(user, peer, { at = work.entry, session = session, ignored = true })
    return
  end
  lose(peer, user, old, { at = work.entry, session = session })
end

events.disconnected = disconnected
events.unregistered = disconnected
