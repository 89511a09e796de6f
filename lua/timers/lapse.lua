-- lapse|<user>|<peer>: a registration was not repeated in time, which is like a disconnect.
-- include: parts/loss

timers.lapse = function(rest, due)
  local user, peer = string.match(rest, '^([^|]+)|([^|]+)$')
  local old = registration(user, peer)
  if old and old.expires then
    -- Dated like the registration itself, so that a repeat that is still on its way counts.
    lose(peer, user, old, { at = old.at, lost = int(due) .. '-0' })
  end
end
