-- The end of an invite. How it ends depends on its kind (see call/kinds.lua).
-- include: call/indexes
-- include: out/devices

-- (The fields of an accepted invite that `fill_in` knows are not stored.)
local function set_end(invite, state, code, reason)
  change(invite, 'state', state)
  invite.code, invite.reason = digits[code], reason
  if code ~= 200 then
    change(invite, 'code', invite.code)
  end
  if reason ~= 'accepted' then
    change(invite, 'reason', reason)
  end
  change(invite, 'endedAt', digits[now])
  invite.live_until, invite.has_ended = lifetimes.over(invite), true
end

-- Ends an invite that rings devices. The winner and the decliner know; all other candidates stop.
local function stop_devices(invite, state, code, reason, winner, decliner)
  set_end(invite, state, code, reason)
  if winner then
    invite.whoAccepted = invite.to
    change(invite, 'acceptedBy', winner.id)
    set_state(invite, winner, 'ACCEPTED', 200)
  end
  local told = {}
  for _, candidate in pairs(candidates_of(invite)) do
    if candidate ~= winner and candidate ~= decliner and IN[candidate.state] then
      -- While a candidate is PUSHING, its push worker sees the end of the invite and sends nothing. Still, the device
      -- may ring over its lost connection.
      if not candidate.unheard or (candidate.state ~= 'PUSHING' and candidate.state ~= 'AWAY') then
        told[#told + 1] = candidate
      end
      if candidate.also == 'PUSHED' then
        told[#told + 1] = as_pushed(candidate)
      end
      if candidate.state == 'AWAY' then
        candidate.missed = true
      end
      set_state(invite, candidate, 'CANCELLED', code == 408 and 408 or 487)
    end
  end
  unindex(invite)
  cancel(invite, told, cancel_words(invite))
  if state == 'ACCEPTED' and #told > 0 and not invite.held then
    -- The call record measures it, and a leg has none.
    if is_leg(invite) then
      measures.add('stopped ' .. work.entry)
    else
      invite.stopped = work.entry
    end
  end
end

-- The inviter gets the context of the answer that ends the invite.
local function note_context(invite, candidate)
  if candidate.context then
    change(invite, 'answerContext', candidate.context)
  end
end

-- Ends a pending invite.
local function finish(invite, state, code, reason, winner, decliner)
  if invite.held and not winner then
    -- Another shard decides first (see call/glare.lua).
    return change(invite, 'postponed', invite.postponed or state .. ' ' .. int(code) .. ' ' .. reason)
  end
  return invite.kind.finish(invite, state, code, reason, winner, decliner)
end

-- Ends the invite when no candidate is left that can accept, and none is being looked up.
local function finish_if_deserted(invite)
  if invite.kind.count(invite) == 0 and invite.parallel ~= 'failed' then
    local code, reason, best = best_response(invite)
    if best then
      note_context(invite, best)
    end
    finish(invite, 'DECLINED', code, reason)
  end
end

do
  -- In the callee's shard: ends the pending invite, unless its entry (`entry_of`) is later than `since`.
  local function end_unless_later(ref, reason, since, entry_of)
    local invite = load_invite(ref)
    if invite and is_pending(invite) and not order.later(entry_of(invite), since) then
      finish(invite, 'DECLINED_BY_CREATOR', 487, reason)
    end
  end

  local function made_by(invite)
    return invite.entry
  end

  -- The room's shard has decided by its own clock. A later invite with the same ref is at least a minute later: it begins
  -- once the earlier one is forgotten.
  function internal.room_is_over(_, ref, reason, since)
    end_unless_later(ref, reason, work.relayed and order.with_tolerance(since) or since, made_by)
  end

  -- The caller has repeated the invite later, so it is connected.
  function internal.caller_is_gone(_, ref, since)
    end_unless_later(ref, 'caller_gone', since, last_word)
  end
end

-- The caller's shard, which learns of the invite late, knows that its caller has too many.
function internal.is_too_many(_, ref, limit)
  local invite = load_invite(ref)
  if invite and is_pending(invite) then
    warn('invite_refused', limit, invite.from, invite.to)
    finish(invite, 'DECLINED', 403, 'too_many')
  end
end
