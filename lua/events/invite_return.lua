-- invite with returnOf: the phone network routes a parallel call back. Only now the user's devices ring, inside the
-- first invite; the returning leg has no record of its own and hears what the first invite's inviter hears.
--
-- Arguments  peer, user, head (how a payload about the returning leg begins); the first invite's ref; transaction (JSON or "")
-- Reads      the first invite, the registrations of its callee
-- include: parts/invites
-- include: parts/registry

local function refuse(leg, code, reason)
  notify('inviteRejected', { leg.peer }, { leg.user },
    leg.head .. ',"code":' .. code .. ',"reason":"' .. reason .. '"}')
end

events.inviteReturn = function(peer, user, about, ref, transaction)
  local leg = { peer = peer, user = user, head = about }
  local invite = load_invite(ref)
  if not invite then
    return refuse(leg, 410, 'not_found')
  elseif not is_pending(invite) then
    return refuse(leg, 410, invite.reason)
  elseif not invite.parallel then
    return refuse(leg, 403, 'forbidden')
  end
  change(invite, 'backPeer', peer)
  change(invite, 'backUser', user)
  if invite.parallel == 'back' then
    return tell_progress(invite, transaction, leg)
  end
  change(invite, 'parallel', 'back')
  later('set', 'SREM', key('parallel', invite.to), ref)
  index_pending(invite.to, ref)
  local rung = {}
  for id, found in pairs(registry_of(invite.to)) do
    local candidate = candidates_of(invite)[id]
    if not candidate and id ~= invite.caller and invite.to ~= invite.from then
      candidate = {
        id = id, address = invite.to, type = 'PEER', state = 'CALLED', device = found.device, session = found.session,
      }
      add_candidate(invite, candidate)
      rung[#rung + 1] = candidate
    end
  end
  if #rung > 0 then
    ring(invite, rung, false)
  end
  tell_progress(invite, transaction, leg)
end
