-- grace|<user>|<peer>: a lost device did not come back in time (removeAfter).
-- include: parts/invites

timers.grace = function(rest)
  local user, peer = string.match(rest, '^([^|]+)|([^|]+)$')
  for _, ref in ipairs(redis.call('SMEMBERS', trust(key('pending', user)))) do
    local invite = load_invite(ref)
    local candidate = invite and is_pending(invite) and candidates_of(invite)[peer]
    if candidate and candidate.state == 'AWAY' and owner(candidate) == user then
      set_state(invite, candidate, 'GONE', 480)
      finish_if_deserted(invite)
    end
  end
end
