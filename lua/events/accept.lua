-- accept: the first candidate wins, all others stop, the inviter is told and the record is written, in one step.
--
-- Arguments  peer, user, ref, head (how a payload about the invite begins), transaction (JSON or "")
-- Reads      the invite and its candidates; with onlyOneDeviceWithInvitations the user's other pending invites
-- Why atomic two devices that accept at once must not both win; whoever loses is told in the same commit
-- include: parts/requests

-- The user is busy now: its other invites stop on all devices but the one that accepted.
local function reject_others(accepted, winner, request)
  local pending = key('pending', accepted.to)
  info('rejecting', accepted.to, '{"id":' .. json.quote(request.peer) .. ',"user":' .. json.quote(request.user) .. '}')
  for _, ref in ipairs(redis.call('SMEMBERS', trust(pending))) do
    local invite = ref ~= accepted.ref and load_invite(ref)
    if invite and is_pending(invite) and invite.to == accepted.to then
      local rejected = {}
      for _, candidate in pairs(candidates_of(invite)) do
        if IN[candidate.state] and not same_device(candidate, winner.id, winner.device) then
          if candidate.type ~= 'PUSH' then
            rejected[#rejected + 1] = candidate
          end
          set_state(invite, candidate, 'REJECTED', 486)
        end
      end
      cancel(invite, rejected, 486, 'busy_elsewhere')
      finish_if_deserted(invite)
    end
  end
end

events.accept = function(peer, user, ref, about, transaction)
  local request = { type = 'accept', peer = peer, user = user, transaction = transaction }
  local invite, candidate = admit(request, ref, about)
  if not invite then
    return
  end
  if not is_pending(invite) then
    if candidate and candidate.state == 'ACCEPTED' then
      answer(request, about, 200, 'accepted', invite.whoAccepted)
    else
      answer_over(request, about, invite)
    end
    return
  end
  local winner = enlist(invite, candidate, request)
  finish(invite, 'ACCEPTED', 200, 'accepted', winner)
  answer(request, about, 200, 'accepted', invite.whoAccepted)
  if settings.only_one_device and user == invite.to then
    reject_others(invite, winner, request)
  end
end
