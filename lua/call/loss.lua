-- A peer is lost. It stays a candidate for removeAfter, and a caller for callerGrace. A trunk that another one follows is
-- out at once.
-- exports: lose
-- include: reach/presence
-- include: call/busy
-- include: call/indexes
-- include: call/losses
-- include: call/pages
-- include: call/ending
-- include: call/trunk_failure
-- include: call/missed
-- include: call/waking

-- Is the peer gone since the entry `lost`, and not back under this or another peer id? The first page belongs to the
-- commit that notes the loss.
local function is_still_gone(user, peer, lost)
  if not work.page then
    return true
  end
  local ended = presence.left(user, peer)
  return ended and ended.lost == lost and not presence.now(user, peer)
end

-- As a candidate the peer is gone at once, or away until the time `grace_ends`. With a `how` it may still be connected:
-- it learns that its ringing is over.
function pages.lost(user, refs, peer, lost, grace_ends, how)
  if #refs == 0 then
    return
  elseif not is_still_gone(user, peer, lost) then
    return true
  end
  local found, away = {}, false
  grace_ends = tonumber(grace_ends)
  for _, ref in ipairs(refs) do
    local invite = load_invite(ref)
    local candidate = invite and is_pending(invite) and candidates_of(invite)[peer]
    if candidate and owner(candidate) == user and (candidate.state == 'CALLED' or candidate.state == 'RINGING') then
      found[#found + 1] = ref
      local followed = trunk_failure.follow(invite, candidate)
      if not followed and grace_ends > now then
        set_state(invite, candidate, 'AWAY')
        away = true
      elseif not followed then
        if how ~= '' then
          cancel(invite, { candidate }, '480', 'unreachable')
        end
        waking.lose(invite, candidate)
      end
    end
  end
  if away then
    remember(key('grace', peer), user, grace_ends)
    schedule('grace|' .. user .. '|' .. peer, grace_ends)
  end
  if #found > 0 then
    info('peer_disconnected', json.strings(found))
  end
end

-- The calls that the peer has made before end at the time `grace_ends` or, if it was lost before that, at the end of that
-- grace, unless its device comes back in time.
function pages.caller_lost(user, refs, peer, lost, grace_ends)
  if #refs == 0 then
    return
  elseif not is_still_gone(user, peer, lost) then
    return true
  end
  local mark = presence.left(user, peer)
  for ref, call in pairs(some_calls(user, refs)) do
    if call.peer == peer and order.later(lost, call.heard) then
      losses.note(user, ref, call, mark, tonumber(grace_ends))
    end
  end
end

-- The registration of the peer has lapsed. Its connection may still exist, so it keeps ringing. The next trunk follows
-- a trunk: this is how a dead gateway is passed over.
function pages.lapsed(user, refs, peer)
  for _, ref in ipairs(refs) do
    local invite = load_invite(ref)
    local candidate = invite and is_pending(invite) and candidates_of(invite)[peer]
    if candidate and owner(candidate) == user and (candidate.state == 'CALLED' or candidate.state == 'RINGING') then
      if not trunk_failure.follow(invite, candidate) then
        waking.push_as_well(invite, candidate)
      end
    end
  end
end

-- `went` is a peer that is gone (see reach/presence.lua). A peer id that another user has taken has no grace;
-- a peer that is dropped has grace only as a caller.
function lose(went)
  local user, peer, lost, how = went.user, went.peer, went.lost, went.how
  local taken = how == 'taken'
  busy.lost(user, peer)
  -- (First, since a call that the loss of its candidate ends has an outcome that the peer misses.)
  every('calls', user, 'caller_lost', peer, lost, int(taken and now or now + settings.caller_grace))
  if how == 'lapsed' then
    every('pending', user, 'lapsed', peer)
  else
    every('pending', user, 'lost', peer, lost, int(how ~= '' and now or now + settings.remove_after), how)
  end
end
