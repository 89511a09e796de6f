-- lapse|<user>|<peer>: a registration was not repeated in time, which is like a disconnect.
-- include: parts/loss

timers.lapse = function(rest, due)
  local user, peer = string.match(rest, '^([^|]+)|([^|]+)$')
  local old = registration(user, peer)
  if old and old.expires then
    -- No end is noted, so that a repeat that is still on its way counts.
    lose(peer, user, old, mark_of(user, peer), int(due) .. '-0')
  end
end
