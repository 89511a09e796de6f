-- The devices of callers. A caller that is not registered (a guest) names its device in its events: coming back under
-- another peer id, it keeps its calls as a registered caller does. The mark of a peer (see `mark_of`) has the device.
-- exports: keep_calls
-- include: core/emit
-- include: reach/presence
-- include: reach/registry
-- include: call/indexes
-- include: call/pages

-- May the device, which is there as another peer now, continue the call that `mark`'s peer has made?
local function continues(mark, call, is_registered)
  return mark == true or (is_registered and mark.lost) or order.later(work.entry, call.heard)
end

-- Moves a page of the user's calls to `peer`. `registered` is "1" when the peer has registered.
function pages.kept(user, refs, peer, device, registered, own_call, ...)
  local is_registered = registered == '1'
  -- Peer id -> true, or the mark of a peer of the device; false for other devices, and for peers that are registered.
  local same, found = { [peer] = is_registered }, false
  for _, id in ipairs({ ... }) do
    same[id] = true
  end
  local is_lost_again = work.page and is_registered and not registry.find(user, peer)
  for ref, call in pairs(some_calls(user, refs)) do
    local old = call.peer
    if same[old] == nil then
      local mark = device ~= '' and presence.gone(user, old)
      same[old] = mark and mark.device == device and not registry.find(user, old) and mark or false
    end
    if ref ~= own_call and same[old] and continues(same[old], call, is_registered) then
      local timer = 'caller|' .. user .. '|' .. old
      if is_lost_again then
        add('zset', { 'ZADD', TIMERS, 'NX', int(now + settings.caller_grace), timer })
      else
        unschedule(timer)
        if old ~= peer then
          found = true
          move_call(user, ref, peer, call)
        end
      end
    end
  end
  return found and not work.page
end

-- The device is there as `peer`, which hears of its calls from now on. `replaced` lists the other peer ids whose
-- registrations have ended with it; nil when the peer has not registered. `own_call` is the call that it makes or
-- repeats in this event. Returns whether it continues any, or may in further pages.
function keep_calls(user, peer, device, replaced, own_call)
  local found = every('calls', user, 'kept', peer, device or '', replaced and '1' or '0', own_call or '',
    unpack(replaced or {}))
  return found ~= false
end

-- A peer of the device says something in its user's shard. `own_call` is the call that it makes or repeats.
local function hear(user, peer, device, own_call)
  local mark = presence.mark_of(user, peer)
  local is_back = not order.later(mark.lost, work.entry)
  local found = is_back and keep_calls(user, peer, device, nil, own_call)
  if is_back then
    every('missed', user, 'missed', peer, device)
  end
  if found or own_call then
    mark.device = device
    presence.save(user, peer, mark)
  end
end

function internal.device_speaks(user, peer, device)
  hear(user, peer, device)
end

-- A peer of the device has made or repeated the call.
function internal.device_calls(user, ref, peer, device)
  hear(user, peer, device, ref)
  local back, since = presence.back_as(user, peer, device)
  if order.later(since, work.entry) then
    local known = call_of(user, ref)
    -- A `call_started` that is still on its way finds the mark.
    if not work.relayed or (known and not order.later(known.entry, work.entry)) then
      local call = known and known.entry == work.entry and known or { entry = work.entry, heard = work.entry }
      move_call(user, ref, back, call)
    end
  end
end
