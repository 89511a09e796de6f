-- The direct call: an invite to a user or a number. It rings devices.
-- include: call/ending
-- include: call/glare
-- include: out/inviter
-- include: out/ended_call

kinds.direct.count = count_candidates
kinds.direct.update = ring_again

function kinds.direct.finish(invite, state, code, reason, winner, decliner)
  if winner then
    info('accepted', invite.inviteId, invite.room or 'undefined', invite.to)
  end
  stop_devices(invite, state, code, reason, winner, decliner)
  unlist(invite)
  if state == 'ACCEPTED' then
    glare.note_accepted(invite)
  end
  tell_outcome(invite)
  record(invite)
  if state ~= 'ACCEPTED' or settings.keep_history > 0 then
    ended_call.note(invite)
  end
end

-- Tells the inviter of the first device that rings, and of the first push before that.
function kinds.direct.progress(invite, what)
  if not invite[what] then
    change(invite, what, '1')
    if what == 'ringing' then
      measures.add('rang ' .. invite.createdAt .. (invite.pushed and ' push' or ' connection'))
    end
    if what == 'ringing' or not invite.ringing then
      tell_progress(invite)
    end
  end
end

-- From now on the inviter is notified of the call at `peer`.
function kinds.direct.repeated(invite, peer)
  set_caller(invite, peer)
  if invite.moved then
    -- The inviter's shard answers `call_started` with `caller_moved` if the device has another peer id by now.
    change(invite, 'moved', '0-0')
  end
  emit(invite.from, 'call_started', invite.ref, peer, asks_until(invite), invite.entry)
end

function kinds.direct.results(invite)
  local results = {}
  for id, candidate in pairs(candidates_of(invite)) do
    results[#results + 1] = '{"address":' .. quoted[candidate.address]
      .. ',"peer":' .. quoted[candidate.type == 'PUSH' and name_of(candidate) or id]
      .. ',"endReason":' .. digits[candidate.endReason]
      .. end_with(candidate.context)
  end
  return results
end

-- The caller's device is back as `peer`. `said` is the inviter's last invite with this ref that the inviter's shard
-- knows, `since` the place of this move in the order of that shard. (A release before 0.2.0 does not send it.)
function internal.caller_moved(_, ref, peer, said, since)
  since = since or work.entry
  local invite = load_invite(ref)
  if not invite then
    return
  elseif work.relayed and (order.later(last_word(invite), said) or order.later(invite.moved, since)) then
    return
  end
  if is_pending(invite) then
    set_caller(invite, peer)
    if shards > 1 then
      change(invite, 'moved', since)
    end
  elseif work.relayed and invite.caller ~= peer
    and tonumber(invite.endedAt) >= order.split(work.entry) - order.TOLERANCE then
    -- Only the old peer has received the outcome.
    tell_outcome(invite, { peer = peer, user = invite.from })
  end
end
