-- Devices that were lost and may be back within removeAfter. They are candidates of new invites, too.
--
-- away:<user>  peer -> JSON: until (ms since 1970), device, session; expires
-- exports: away
-- include: reach/push
-- include: reach/registry

away = {}

-- The registration `old` of the peer is lost.
function away.note(user, peer, old)
  if settings.remove_after == 0 or not old or old.trunk then
    return
  end
  local name, until_when = key('away', user), now + settings.remove_after
  add('hash', { 'HSET', name, peer, '{"until":' .. int(until_when)
    .. (old.device and ',"device":' .. json.quote(old.device) or '')
    .. (old.session and ',"session":' .. json.quote(old.session) or '') .. '}' })
  expire(name, until_when)
end

function away.forget(user, peer)
  if settings.remove_after > 0 then
    later({ 'HDEL', key('away', user), peer })
  end
end

-- The user's peer is not awaited. (Trunks of two users may have its id, and the other one may be lost, too.)
function away.end_grace(user, peer)
  local name = key('grace', peer)
  if redis.call('GET', name) == user then
    later({ 'DEL', name })
  end
  unschedule('grace|' .. user .. '|' .. peer)
end

-- Adds the devices that are away, without the inviting peer and those that ring another way.
function away.add(candidates, user, caller)
  if settings.remove_after == 0 then
    return
  end
  local present, name = { [caller] = true }, key('away', user)
  for _, candidate in ipairs(candidates) do
    present[candidate.id] = true
    present[candidate.device or candidate.id] = true
  end
  local flat, found = redis.call('HGETALL', name), {}
  trust(name)
  for i = 1, #flat, 2 do
    local one = cjson.decode(flat[i + 1])
    one.peer = flat[i]
    if one['until'] > now then
      found[#found + 1] = one
    else
      later({ 'HDEL', name, one.peer })
    end
  end
  -- Of a device's peer ids the one that was lost last.
  table.sort(found, function(a, b)
    return a['until'] > b['until'] or (a['until'] == b['until'] and a.peer < b.peer)
  end)
  for _, one in ipairs(found) do
    if not present[one.peer] and not present[one.device or one.peer] then
      present[one.device or one.peer] = true
      local candidate = registry.candidate(one.peer, user, one)
      candidate.state, candidate.unheard = 'AWAY', true
      candidates[#candidates + 1] = candidate
      remember(key('grace', one.peer), user, one['until'])
      schedule('grace|' .. user .. '|' .. one.peer, one['until'])
    end
  end
end
