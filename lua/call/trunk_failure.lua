-- A trunk fails: it answers that it cannot connect the call, or is lost. The next trunk rings that led to the number
-- when the call began. With parallelSip the callee's own devices ring when none is left, unless the call has come back.
-- The invite's field `trunks` is the list of those that have not been tried (see reach/trunks.lua).
-- exports: trunk_failure
-- include: core/emit
-- include: reach/trunks
-- include: call/at_home
-- include: call/ending
-- include: call/indexes
-- include: out/devices

trunk_failure = {}

-- Keeps the list of the trunks that may follow.
function trunk_failure.prepare(invite, list)
  if list and list ~= '' then
    change(invite, 'trunks', list)
  end
end

-- Does the code say that the trunk cannot connect the call? Any other code is the phone's answer.
function trunk_failure.is_told_by(code)
  return code == 408 or code == 480 or (code >= 500 and code < 600)
end

-- Only the callee's own devices are left.
local function ring_at_home(invite)
  change(invite, 'parallel', 'failed')
  if settings.look_up ~= '' and settings.look_up ~= 'groups' then
    proceed(invite.to, 'trunks_have_failed', invite.ref)
  else
    internal.trunks_have_failed(nil, invite.ref)
  end
end

-- A candidate that was in has declined, or is lost. Returns true when something else rings instead of a trunk, which is
-- out and must not ring again.
function trunk_failure.follow(invite, candidate)
  -- (While an accept of a leg is being decided, nothing else needs to ring.)
  if candidate.type ~= 'PSTN' or invite.parallel == 'back' or invite.claims or tonumber(invite.expiresAt) <= now then
    return false
  end
  local following, rest = trunks.next(invite.trunks or '', candidate.address, candidates_of(invite))
  if not following and invite.parallel ~= 'out' then
    return false
  end
  candidate.followed = true
  if candidate.state ~= 'DECLINED' then
    set_state(invite, candidate, 'GONE', 480)
  end
  if following then
    change(invite, 'trunks', rest)
    add_candidate(invite, following)
    index_owners(invite, { following })
    ring(invite, { following }, false)
  else
    ring_at_home(invite)
  end
  return true
end

-- `lookup_result` is what the worker has looked up (see reach/resolve.lua), nil when it has not.
function internal.trunks_have_failed(_, ref, lookup_result)
  local invite = load_invite(ref)
  if invite and is_pending(invite) and invite.parallel == 'failed' and tonumber(invite.expiresAt) > now then
    call_at_home(invite, lookup_result or '')
    if is_pending(invite) then
      finish_if_deserted(invite)
    end
  end
end
