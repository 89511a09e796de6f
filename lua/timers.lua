-- Timers: one rule for each kind of member of the timers (`kind|rest`). The `close` timer is with the rooms.
-- include: core/commit
-- include: core/refs
-- include: call/kinds
-- include: call/loss

-- ring|<ref>: nobody answered in time.
function timers.ring(ref)
  local invite = load_invite(ref)
  if not invite then
    -- The invite is gone by its time to live: nothing but its indexes is left to clean.
    later({ 'SREM', key('pending', callee_of(ref)), ref })
    emit(inviter_of(ref), 'call_ended', ref, work.entry, work.entry)
  elseif is_pending(invite) then
    finish(invite, 'DECLINED_BY_TIMEOUT', 408, 'timeout')
  end
end

-- step|<ref>: in a group that is called one after the other, the next member's turn has come.
function timers.step(ref)
  local call = load_invite(ref)
  if call and is_pending(call) then
    kinds.group.step(call)
  end
end

-- grace|<user>|<peer>: a lost device did not come back in time (removeAfter).
function timers.grace(rest)
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

-- caller|<user>|<peer>: the device of a caller did not come back in time (callerGrace): its calls end.
function timers.caller(rest, due)
  local user, peer = string.match(rest, '^([^|]+)|([^|]+)$')
  local ended = gone(user, peer)
  local lost = ended and ended.lost or int(due - settings.caller_grace) .. '-0'
  for ref, call in pairs(calls_of(user)) do
    if call.peer == peer and order.later(lost, call.entry) then
      emit(callee_of(ref), 'caller_is_gone', ref, lost)
    end
  end
end

-- lapse|<user>|<peer>: a registration was not repeated in time, which is like a disconnect.
function timers.lapse(rest, due)
  local user, peer = string.match(rest, '^([^|]+)|([^|]+)$')
  local old = registration(user, peer)
  if old and old.expires then
    -- No end is noted, so that a repeat that is still on its way counts.
    lose(peer, user, old, mark_of(user, peer), int(due) .. '-0')
  end
end
