-- The outcomes that a caller may have missed: its device was away when the call ended. It gets them once it is back.
--
-- missed:<user>  the calls that the user had pending when the device that had made them was lost: ref -> peer|entry of
--                the loss; expires
-- include: core/emit
-- include: core/refs
-- include: reach/presence
-- include: call/indexes
-- include: call/pages
-- include: out/inviter

-- The peer that has made the call is gone since the entry `lost`.
function internal.note_missed(user, ref, peer, lost)
  local name = key('missed', user)
  add('hash', { 'HSET', name, ref, peer .. '|' .. lost })
  expire(name, lifetimes.missed())
end

-- The device is back as `peer`. It will be notified of calls that have not ended by then.
function pages.missed(user, refs, peer, device)
  local name = key('missed', user)
  local values = #refs > 0 and redis.call('HMGET', name, unpack(refs)) or {}
  local calls, same = some_calls(user, refs), { [peer] = true }
  for i, ref in ipairs(refs) do
    local old, lost = string.match(values[i] or '', '^([^|]+)|([^|]+)$')
    if old and same[old] == nil then
      local mark = device ~= '' and presence.left(user, old)
      same[old] = mark and mark.device == device or false
    end
    if old and same[old] then
      later({ 'HDEL', name, ref })
      -- A call that moves to the new peer tells it the outcome if it has ended.
      if not calls[ref] or old == peer then
        emit(callee_of(ref), 'outcome_missed', ref, old, peer, lost)
      end
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
