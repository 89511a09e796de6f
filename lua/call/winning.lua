-- A device wins: it has the call, and all others stop.
-- exports: answer_late, win
-- include: call/enlist
-- include: call/requests
-- include: call/ending
-- include: call/pages

-- The user is busy. Its other invites stop on all devices except the accepting one.
function pages.busy(user, refs, accepted, peer, device)
  for _, ref in ipairs(refs) do
    local invite = ref ~= accepted and load_invite(ref)
    if invite and is_pending(invite) and invite.to == user and not is_hidden(invite) and not is_group(invite) then
      local rejected = {}
      for _, candidate in pairs(candidates_of(invite)) do
        if IN[candidate.state] and not same_device(candidate, peer, device ~= '' and device) then
          if candidate.state ~= 'PUSHING' then
            rejected[#rejected + 1] = candidate
          end
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

-- Answers an accept after the end. The winner's repeat gets 200.
function answer_late(invite, request, candidate)
  if candidate and candidate.state == 'ACCEPTED' then
    answer(request, head_of(invite), 200, 'accepted', invite.whoAccepted)
  else
    answer_over(request, invite)
  end
end

function win(invite, request, candidate)
  local winner = enlist(invite, candidate, request)
  if request.context or winner.context then
    winner.context = request.context
    note_context(invite, winner)
  end
  finish(invite, 'ACCEPTED', 200, 'accepted', winner)
  answer(request, head_of(invite), 200, 'accepted', invite.whoAccepted)
  if settings.only_one_device_with_invitations and request.user == invite.to then
    info('rejecting', invite.to, '{"id":' .. json.quote(request.peer) .. ',"user":' .. json.quote(request.user) .. '}')
    every('pending', invite.to, 'busy', invite.ref, winner.id, winner.device or '')
  end
end

kinds.direct.accept = win
