-- A peer id belongs to one user at a time. The shard of the peer id knows to whom, since users may be in any shard. (A
-- trunk's peer id is exempt: a user who could register it could take its calls away.)
--
-- holder:<peer>  user|entry of the latest registration of the peer id; expires after that has ended
-- exports: holders
-- include: core/emit
-- include: reach/registry

holders = {}

local function holder_of(peer)
  return string.match(redis.call('GET', key('holder', peer)) or '', '^([^|]+)|([^|]+)$')
end

-- Since when the peer id belongs to another user, as far as this shard knows; nil when it does not.
function holders.held_since(peer, user)
  local holder, since = nil, nil
  if is_here(peer) then
    holder, since = holder_of(peer)
  end
  if not holder or holder == user then
    return nil
  end
  -- A repeat of a registration claims nothing.
  local found = is_here(holder) and registry.find(holder, peer)
  return order.latest(since, found and found.at)
end

-- The user has registered the peer id, by the entry `at`. `over` is "1" when that registration has ended.
function internal.peer_claimed(peer, user, at, over)
  local holder, since = holder_of(peer)
  if order.later(at, since) or (holder == user and at == since) then
    local name, value = key('holder', peer), user .. '|' .. at
    if over == '1' then
      remember(name, value, lifetimes.order())
    elseif at ~= since then
      later({ 'SET', name, value })
    end
    if holder and holder ~= user then
      emit(holder, 'peer_taken', peer, at)
    end
  elseif holder ~= user and over ~= '1' then
    emit(user, 'peer_taken', peer, since)
  end
end

-- Another user who has the peer id loses it (see `internal.peer_taken`).
function holders.claim(peer, user, at)
  emit(peer, 'peer_claimed', user, at, '')
end

-- The registration `old` of the user has ended.
function holders.release(peer, user, old)
  if old and not old.trunk then
    emit(peer, 'peer_claimed', user, old.at, '1')
  end
end
