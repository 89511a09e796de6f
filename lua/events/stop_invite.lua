-- stopInvite: the inviter, or a service (no peer), takes the invite back. A stop before its invite leaves a
-- tombstone: the invite ends as it begins.
--
-- Arguments  peer, user ("" for a service); from ("" for any inviter)
-- Reads      the invite; without `from` the callee's pending invites and those that the phone network has
-- include: call/pages
-- include: call/requests

local function stop_in_advance(from, invite_id, callee, code)
  remember(key('stopped', from .. '|' .. invite_id .. '|' .. callee), code, lifetimes.stopped())
end

-- Returns true when there was one.
function pages.stopped(callee, refs, invite_id, code)
  local found = false
  for _, ref in ipairs(refs) do
    local invite = is_for(ref, invite_id, callee) and load_invite(ref)
    if invite and is_pending(invite) then
      found = true
      stop(invite, tonumber(code))
    end
  end
  return found and not work.page
end

local function stop_all(invite_id, callee, code)
  local pending = every('pending', callee, 'stopped', invite_id, code)
  local parallel = every('parallel', callee, 'stopped', invite_id, code)
  if not pending and not parallel then
    stop_in_advance('', invite_id, callee, code)
  end
end

function events.stopInvite(peer, user, from, invite_id, callee, head, error_code, transaction)
  local request = { type = 'stopInvite', peer = peer, user = user, transaction = transaction }
  work.code = error_code
  if from == '' then
    stop_all(invite_id, callee, error_code)
    return
  end
  if peer ~= '' and user ~= from then
    answer(request, head, 403, 'forbidden')
    return
  end
  local invite = load_invite(from .. '|' .. invite_id .. '|' .. callee)
  if not invite then
    stop_in_advance(from, invite_id, callee, error_code)
    answer(request, head, 200, 'cancelled')
    return
  end
  if is_pending(invite) then
    stop(invite, tonumber(error_code))
  end
  answer_stop(request, invite)
end
