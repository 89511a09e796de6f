-- A peer is lost. It stays a candidate for removeAfter, and a caller for callerGrace.
-- include: core/emit
-- include: reach/registry
-- include: call/indexes
-- include: call/ending

-- As a candidate the peer is gone at once, or away while its grace lasts.
local function lose_candidate(peer, user)
  local lost, away = {}, false
  for _, ref in ipairs(redis.call('SMEMBERS', trust(key('pending', user)))) do
    local invite = load_invite(ref)
    local candidate = invite and is_pending(invite) and candidates_of(invite)[peer]
    if candidate and owner(candidate) == user and (candidate.state == 'CALLED' or candidate.state == 'RINGING') then
      lost[#lost + 1] = ref
      if settings.remove_after > 0 then
        set_state(invite, candidate, 'AWAY')
        away = true
      else
        set_state(invite, candidate, 'GONE', 480)
        finish_if_deserted(invite)
      end
    end
  end
  if away then
    remember(key('grace', peer), user, now + settings.remove_after)
    schedule('grace|' .. user .. '|' .. peer, now + settings.remove_after)
  end
  if #lost > 0 then
    info('peer_disconnected', json.strings(lost))
  end
end

-- The calls that the peer has made before end unless its device comes back in time.
local function lose_caller(peer, user, lost)
  for _, call in pairs(calls_of(user)) do
    if call.peer == peer and order.later(lost, call.entry) then
      add('zset', { 'ZADD', TIMERS, 'NX', int(now + settings.caller_grace), 'caller|' .. user .. '|' .. peer })
      return
    end
  end
end

local function lose(peer, user, old, mark, lost)
  forget(user, peer, old, mark, lost)
  if old and old.trunk then
    emit_everywhere(user, 'trunk_ended', user, peer, lost, mark.since, cjson.encode(mark.ends))
  end
  lose_candidate(peer, user)
  lose_caller(peer, user, lost)
end

-- In every other shard: the trunk is gone since the entry `lost`, and its registrations up to the entry `since` are
-- over. The same `ends` (JSON) as in the trunk's own shard decide about later registrations.
function internal.trunk_ended(_, user, peer, lost, since, ends)
  local old, mark = registration(user, peer), mark_of(user, peer)
  for session, ended in pairs(cjson.decode(ends)) do
    note_end(mark, session, ended)
  end
  if old and order.later(old.at, since) then
    save_mark(user, peer, mark)
    return
  end
  if not order.later(mark.since, since) then
    mark.since = since
  end
  lose(peer, user, old, mark, order.later(mark.lost, lost) and mark.lost or lost)
end
