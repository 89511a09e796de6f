-- The devices of callers. A device that comes back under another peer id keeps the calls that it made before. A caller
-- that is not registered (a guest) names its device in its events.
-- exports: continue_calls
-- include: core/emit
-- include: reach/presence
-- include: reach/registry
-- include: call/indexes
-- include: call/missed
-- include: call/pages

-- From a page of the user's calls, moves those that other peers of the device have made to the peer `to` (see `moved`
-- in reach/presence.lua). `how`: the peer has "registered", it "spoke", or it has "overtaken" a registration of `from`.
-- `own_call` is the one that the peer makes or repeats in this event.
function pages.continued(user, refs, how, to, device, since, from, own_call)
  if #refs == 0 then
    return false
  end
  -- Peer id -> the mark of another peer of the device that is gone; true for the peer itself, if it has registered.
  local same, moved, stays = { [to] = how == 'registered' }, {}, {}
  local is_lost_again = work.page and how ~= 'spoke' and not registry.find(user, to)
  for ref, call in pairs(some_calls(user, refs)) do
    local old = call.peer
    if same[old] == nil then
      local mark = device ~= '' and (from == '' or old == from) and presence.left(user, old)
      same[old] = mark and mark.device == device and not registry.find(user, old) and mark or false
    end
    if ref ~= own_call and same[old] then
      if old == to or (how == 'registered' and same[old].lost) or order.later(since, call.heard) then
        moved[old] = true
        if old ~= to and not is_lost_again then
          move_call(user, ref, to, call, since)
        end
      else
        stays[old] = true
      end
    end
  end
  for old in pairs(moved) do
    local timer = 'caller|' .. user .. '|' .. old
    if is_lost_again then
      add('zset', { 'ZADD', TIMERS, 'NX', int(now + settings.caller_grace), timer })
    elseif how == 'registered' or (how == 'spoke' and not work.page and not stays[old]) then
      -- (A timer that finds no call does nothing.)
      unschedule(timer)
    end
  end
  moved[to] = nil
  return next(moved) ~= nil and not work.page
end

-- The device is connected as `to`, since that entry. `how`, `from` and `own_call` are those of the page. Returns
-- whether any call continues there, or may in further pages.
function continue_calls(how, user, device, to, since, from, own_call)
  local found = every('calls', user, 'continued', how, to, device or '', since, from or '', own_call or '')
  if how ~= 'overtaken' then
    every('missed', user, 'missed', to, device or '')
  end
  return found ~= false
end

-- A peer of the device sends an event in its user's shard. `own_call` is the call that it makes or repeats.
local function hear(user, peer, device, own_call)
  local change = presence.spoke(user, peer, device)
  local found = change and continue_calls('spoke', user, device, change.moved.to, change.moved.since, nil, own_call)
  if found or own_call then
    presence.note_device(user, peer, device)
  end
end

function internal.device_speaks(user, peer, device, own_call)
  hear(user, peer, device, own_call)
end

-- A peer of the device has made or repeated the call.
function internal.device_calls(user, ref, peer, device)
  hear(user, peer, device, ref)
  local back, since = presence.now(user, peer, device)
  if back ~= peer and order.later(since, work.entry) then
    local known = call_of(user, ref)
    -- A `call_started` that is still on its way finds the mark.
    if not work.relayed or (known and not order.later(known.entry, work.entry)) then
      local call = known and known.entry == work.entry and known or { entry = work.entry, heard = work.entry }
      move_call(user, ref, back, call, since)
    end
  end
end
