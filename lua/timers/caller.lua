-- caller|<user>|<peer>: the device of a caller did not come back in time (callerGrace): its calls end.
-- include: parts/invites

timers.caller = function(rest, due)
  local user, peer = string.match(rest, '^([^|]+)|([^|]+)$')
  local calls = redis.call('HGETALL', trust(key('calls', user)))
  local ended = gone(user, peer)
  for i = 1, #calls, 2 do
    if calls[i + 1] == peer then
      emit(string.match(calls[i], '[^|]+$'), 'end_invite', calls[i], 'DECLINED_BY_CREATOR', 487, 'caller_gone',
        ended and ended.lost or int(due - settings.caller_grace) .. '-0')
    end
  end
end
