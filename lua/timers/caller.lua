-- caller|<user>|<peer>: the device of a caller did not come back in time (callerGrace): its calls end.
-- include: parts/invites

timers.caller = function(rest, due)
  local user, peer = string.match(rest, '^([^|]+)|([^|]+)$')
  local ended = gone(user, peer)
  local lost = ended and ended.lost or int(due - settings.caller_grace) .. '-0'
  for ref, call in pairs(calls_of(user)) do
    if call.peer == peer and order.later(lost, call.entry) then
      emit(callee_of(ref), 'caller_is_gone', ref, lost)
    end
  end
end
