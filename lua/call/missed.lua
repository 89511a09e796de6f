-- The outcomes that a caller may have missed: its device was away when the call ended. It gets them once it is back.
-- include: core/emit
-- include: core/refs
-- include: reach/presence
-- include: call/indexes
-- include: call/losses
-- include: call/pages
-- include: out/inviter

-- The device is back as `peer`. It will be notified of calls that have not ended by then.
function pages.missed(user, refs, peer, device)
  local calls, same = some_calls(user, refs), { [peer] = true }
  for ref, loss in pairs(losses.of(user, refs)) do
    local old = loss.peer
    if same[old] == nil then
      local mark = device ~= '' and presence.left(user, old)
      same[old] = mark and mark.device == device or false
    end
    -- A call that moves to the new peer tells it the outcome if it has ended. One that stays may still be lost.
    if same[old] and (not calls[ref] or old == peer) then
      later({ 'HDEL', key('missed', user), ref })
      emit(callee_of(ref), 'outcome_missed', ref, old, peer, loss.lost)
    end
  end
end

-- In the callee's shard: sends the outcome again, unless the device received it before it was lost.
function internal.outcome_missed(_, ref, old, peer, lost)
  local invite = load_invite(ref)
  if not invite or is_pending(invite) or invite.caller ~= old then
    return
  end
  local since = order.split(lost)
  if tonumber(invite.endedAt) >= (work.relayed and since - order.TOLERANCE or since) then
    tell_outcome(invite, { peer = peer, user = invite.from })
  end
end
