-- A device wins: it has the call, and all others stop.
-- exports: answer_late, win
-- include: call/busy
-- include: call/enlist
-- include: call/naming
-- include: call/requests
-- include: call/ending
-- include: call/pages

-- The user is busy. Its other invites stop on all devices except the accepting one. Those into `room` wait for the join
-- that has accepted this one.
function pages.busy(user, refs, accepted, peer, device, room)
  for _, ref in ipairs(refs) do
    local invite = ref ~= accepted and load_invite(ref)
    if invite and is_pending(invite) and invite.to == user and not is_hidden(invite) and not is_group(invite)
      and (room == '' or invite.room ~= room) then
      local rejected = {}
      for _, candidate in pairs(candidates_of(invite)) do
        if IN[candidate.state] and not has_claimed(invite, candidate) and candidate.id ~= peer
          and not same_device(candidate, peer, device ~= '' and device) then
          if not candidate.unheard or (candidate.state ~= 'PUSHING' and candidate.state ~= 'AWAY') then
            rejected[#rejected + 1] = candidate
          end
          if candidate.also == 'PUSHED' then
            rejected[#rejected + 1] = as_pushed(candidate)
          end
          candidate.toldAt = (candidate.state == 'CALLED' or candidate.state == 'RINGING') and now or nil
          set_state(invite, candidate, 'REJECTED', 486)
        end
      end
      cancel(invite, rejected, 486, 'busy_elsewhere')
      if invite.kind.count(invite) == 0 then
        finish(invite, 'DECLINED', 486, 'busy')
      end
    end
  end
end

-- Answers an accept after the end. The winner's repeat gets 200, and so does the accept that a join without a peer has
-- left open.
function answer_late(invite, request, candidate)
  if request.type == 'joined' then
    return
  elseif (candidate and candidate.state == 'ACCEPTED') or naming.late(invite, request, candidate) then
    answer(request, head_of(invite), 200, 'accepted', invite.whoAccepted)
  else
    answer_over(request, invite)
  end
end

-- The user has joined the room, as an unknown peer.
local function win_unnamed(invite)
  info('accepted', invite.inviteId, invite.room, invite.to)
  change(invite, 'whoAccepted', invite.to)
  finish(invite, 'ACCEPTED', 200, 'accepted')
  busy.accepted(invite)
end

function win(invite, request, candidate)
  if request.peer == naming.NOBODY then
    return win_unnamed(invite)
  end
  local winner = enlist(invite, candidate, request)
  if request.context or winner.context then
    winner.context = request.context
    note_context(invite, winner)
  end
  finish(invite, 'ACCEPTED', 200, 'accepted', winner)
  busy.accepted(invite, request.type ~= 'joined' and request.user, request.peer)
  if settings.only_one_device_with_invitations and request.user == invite.to then
    info('rejecting', invite.to, '{"id":' .. json.quote(request.peer) .. ',"user":' .. json.quote(request.user) .. '}')
    every('pending', invite.to, 'busy', invite.ref, winner.id, winner.device or '',
      request.type == 'joined' and invite.room or '')
  end
end

function kinds.direct.accept(invite, request, candidate)
  win(invite, request, candidate)
  answer(request, head_of(invite), 200, 'accepted', invite.whoAccepted)
end
