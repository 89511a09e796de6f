-- One rule for each kind of timer. A timer is a member `kind|rest` of the sorted set of timers; its score is its
-- time.
-- include: core/commit
-- include: core/refs
-- include: reach/presence
-- include: call/glare
-- include: call/kinds
-- include: call/losses
-- include: call/presence_changed
-- include: call/busy
-- include: call/waking

-- ring|<ref>: nobody has answered in time.
function timers.ring(ref)
  local invite = load_invite(ref)
  if not invite then
    -- The invite has expired. Only its indexes are left.
    later({ 'SREM', key('pending', callee_of(ref)), ref })
    emit(inviter_of(ref), 'call_ended', ref, work.entry, work.entry)
  elseif is_pending(invite) and invite.held then
    glare.ask_again(invite)
  elseif is_pending(invite) then
    finish(invite, 'DECLINED_BY_TIMEOUT', 408, 'timeout')
  end
end

-- step|<ref>: a sequential group call goes on to the next member.
function timers.step(ref)
  local call = load_invite(ref)
  if call and is_pending(call) then
    kinds.group.step(call)
  end
end

-- grace|<user>|<peer>: a lost device has not come back in time (removeAfter).
function timers.grace(rest)
  local user, peer = string.match(rest, '^([^|]+)|([^|]+)$')
  every('pending', user, 'grace_over', peer)
end

function pages.grace_over(user, refs, peer)
  if work.page and presence.now(user, peer) then
    return true
  end
  for _, ref in ipairs(refs) do
    local invite = load_invite(ref)
    local candidate = invite and is_pending(invite) and candidates_of(invite)[peer]
    if candidate and candidate.state == 'AWAY' and owner(candidate) == user then
      waking.lose(invite, candidate)
    end
  end
end

-- wake|<ref>: those of the connected devices that a push can wake and that have not said that they ring (pushAfter).
function timers.wake(ref)
  local invite = load_invite(ref)
  for _, candidate in pairs(invite and is_pending(invite) and candidates_of(invite) or {}) do
    if candidate.state == 'CALLED' then
      waking.push_as_well(invite, candidate)
    end
  end
end

-- caller|<user>|<peer>: a caller's device has not come back in time (callerGrace). Its calls end, except those that it
-- has made, and lost, later. (A page that a worker of an older release began has no `due`: it is due now.)
function timers.caller(rest, due)
  local user, peer = string.match(rest, '^([^|]+)|([^|]+)$')
  local ended = presence.left(user, peer)
  local lost = ended and ended.lost or int(due - settings.caller_grace) .. '-0'
  every('calls', user, 'caller_gone', peer, lost, int(due))
end

function pages.caller_gone(user, refs, peer, lost, due)
  if work.page and presence.now(user, peer) then
    return true
  end
  local known = losses.of(user, refs)
  for ref, call in pairs(some_calls(user, refs)) do
    if call.peer == peer then
      local loss = losses.counts(known[ref], call) and known[ref] or { lost = lost }
      if loss.grace_ends and loss.grace_ends > (tonumber(due) or now) then
        losses.wait(user, peer, loss.grace_ends)
      elseif order.later(loss.lost, call.heard) then
        -- The callee's shard compares the end with what it knows by its own clock: the call, and a later repeat.
        emit(callee_of(ref), 'caller_is_gone', ref, order.latest(loss.lost, call.entry))
      end
    end
  end
end

-- left|<room>|<user>: an inviter that has left the room has not joined it again in time (roomGrace).
function timers.left(rest, due)
  local room, user = string.match(rest, '^([^|]+)|([^|]+)$')
  internal.inviter_stays_away(room, user, due)
end

-- busy|<user>|<room>: is the user still in this call?
function timers.busy(rest)
  local user, room = string.match(rest, '^([^|]+)|([^|]+)$')
  busy.check(user, room)
end

-- lapse|<user>|<peer>: a device has not repeated its registration in time. Invites that ring it keep ringing.
function timers.lapse(rest, due)
  local user, peer = string.match(rest, '^([^|]+)|([^|]+)$')
  presence_changed(presence.lapsed(user, peer, due))
end
