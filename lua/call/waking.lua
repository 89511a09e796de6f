-- Phones that a push can wake. When sippo-server lists a device for push, its candidate remembers that, whether it is
-- connected or not (see the fields of a candidate in call/candidates.lua).
-- exports: waking
-- include: call/ending
-- include: call/pages
-- include: reach/push

waking = {}

-- Nothing is known of a connection of the candidate's device.
function waking.sleep(invite, candidate, state)
  candidate.device = candidate.device or candidate.id
  rename_candidate(invite, candidate, push_id(candidate.device))
  candidate.type, candidate.session, candidate.also = 'PUSH', nil, nil
  set_state(invite, candidate, state)
end

-- The candidate's device is lost. A push wakes it, or it is out.
function waking.lose(invite, candidate)
  if candidate.push and tonumber(invite.expiresAt) > now then
    waking.sleep(invite, candidate, 'PUSHING')
    ring(invite, { candidate }, true)
  else
    set_state(invite, candidate, 'GONE', 480)
    finish_if_deserted(invite)
  end
end

-- Pushes to a device that rings, or may ring, over its connection.
function waking.push_as_well(invite, candidate)
  if candidate.push and not candidate.also and not is_quiet(invite, candidate) and tonumber(invite.expiresAt) > now then
    candidate.also = 'PUSHING'
    touch(invite, candidate)
    ring(invite, { as_pushed(candidate) }, true)
  end
end

-- After pushAfter, devices that have not sent `ringing` are pushed as well.
function waking.expect_ringing(invite, candidates)
  local at = now + settings.push_after
  if settings.push_after < 0 or at >= tonumber(invite.expiresAt) then
    return
  end
  for _, candidate in ipairs(candidates) do
    if candidate.push and candidate.type == 'PEER' then
      schedule('wake|' .. invite.ref, at)
      return
    end
  end
end
