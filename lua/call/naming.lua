-- The join of a user that names no peer ends an invite without a winner (see call/joining.lua). The callee's first
-- accept after that is named as the winner. The inviter and the record got the end at the join.
-- exports: naming
-- include: core/emit
-- include: call/enlist
-- include: call/ending

naming = {}

-- Stands for the peer of a join that names none.
naming.NOBODY = '|'

-- Returns whether the accept is named.
function naming.late(invite, request, candidate)
  if invite.state ~= 'ACCEPTED' or invite.acceptedBy or invite.whoAccepted ~= invite.to
    or request.user ~= invite.to then
    return false
  end
  local winner = enlist(invite, candidate, request)
  if request.context or winner.context then
    winner.context = request.context
    note_context(invite, winner)
  end
  set_state(invite, winner, 'ACCEPTED', 200)
  change(invite, 'acceptedBy', winner.id)
  if is_leg(invite) then
    emit(invite.group, 'leg_named', with_callee(invite.ref, invite.group), invite.to, winner.id)
  end
  return true
end
