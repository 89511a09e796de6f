-- Redial: an invite ends earlier ones of its inviter (487 `replaced`), once its own devices ring. It names one of them
-- (`replaces`), and replaces by itself those of the same device to the same callee.
--
-- While it begins, an invite has the fields (a group call until its legs have begun, as JSON)
--   others     the refs that it replaces
--   leaving    how many of them are pending to the same callee
--   overtaken  a later invite of the same device has come first
-- exports: redial
-- include: core/emit
-- include: core/refs
-- include: call/ending
-- include: call/limits

redial = {}

-- The reason, and the tombstone of an invite that was replaced before it came (see events/stop_invite.lua).
redial.REPLACED = 'replaced'

-- The invites from `from` to `to` in an index of `to`.
function redial.invites_in(index, from, to)
  local found, name, cursor = {}, key(index, to), '0'
  unit.must_be(name, 'set')
  repeat
    local some = redis.call('SSCAN', name, cursor, 'COUNT', 1000, 'MATCH', glob(from) .. '|*|' .. glob(to))
    cursor = some[1]
    for _, ref in ipairs(some[2]) do
      found[#found + 1] = load_invite(ref)
    end
  until cursor == '0'
  return found
end

local function is_of_device(other, peer, device)
  return other.caller == peer or (device and other.device == device)
end

-- Adds the redials that an index has. Returns the last one, or `last`.
local function add_redials_in(index, invite, asked, last)
  for _, other in ipairs(redial.invites_in(index, invite.from, invite.to)) do
    if is_pending(other) and not is_leg(other) and not other.requestId
      and other.inviteRequest == invite.inviteRequest and is_of_device(other, asked.peer, asked.device) then
      if order.later(other.entry, invite.entry) then
        invite.overtaken = true
      elseif other.ref ~= asked.replaces then
        invite.others[#invite.others + 1] = other.ref
        invite.leaving = invite.leaving + 1
        last = last and order.later(last.entry, other.entry) and last or other
      end
    end
  end
  return last
end

-- What the invite replaces by itself: those of the same device. The answer to a request rings for that request alone.
local function add_redials(invite, asked)
  if settings.redial ~= 'replace' or invite.requestId or limits.is_trunk(asked.user, asked.peer) then
    return
  end
  local last = add_redials_in('pending', invite, asked)
  last = add_redials_in('parallel', invite, asked, last)
  return last and last.ref
end

-- Does the invite name a ref of its own user that may be pending? An invite to another callee may be in another shard,
-- which finds out.
local function may_replace(invite, ref)
  if inviter_of(ref) ~= invite.from or ref == invite.ref then
    warn('not_replaced', ref, 'forbidden')
    return false
  end
  local other = callee_of(ref) == invite.to and load_invite(ref)
  if other and (not is_pending(other) or is_leg(other)) then
    warn('not_replaced', ref, other.reason or 'forbidden')
    return false
  elseif other then
    invite.leaving = invite.leaving + 1
  end
  return true
end

-- Notes the invites that the new one replaces. Its devices learn of the one that it names, or of the last one.
function redial.choose(invite, asked)
  invite.others, invite.leaving = {}, 0
  local named = asked.replaces and may_replace(invite, asked.replaces) and asked.replaces
  if named then
    invite.others[1] = named
  end
  local last = add_redials(invite, asked)
  if named or last then
    change(invite, 'replaces', named or last)
  end
end

local function end_replaced(invite, by, device)
  if is_of_device(invite, by, device) then
    -- The device gets the end under its current peer id.
    set_caller(invite, by)
  end
  limits.count_replaced(invite.from, invite.to, invite.ref)
  finish(invite, 'DECLINED_BY_CREATOR', 487, redial.REPLACED)
end

-- A replaced call to a group keeps its legs until the new call rings.
local function cancel_legs(invite)
  if is_group(invite) then
    internal.legs_cancel(invite.to, invite.ref)
  end
end

-- A later invite of the same user replaces this one, by the peer `by`. It may overtake this one.
function internal.replaced(_, ref, by, device)
  local invite = load_invite(ref)
  if not invite then
    remember(key('stopped', ref), redial.REPLACED, lifetimes.stopped())
    warn('not_replaced', ref, 'not_found')
  elseif is_pending(invite) and not is_leg(invite) then
    end_replaced(invite, by, device)
    cancel_legs(invite)
  elseif is_group(invite) and (invite.legsReason or invite.reason) == redial.REPLACED then
    cancel_legs(invite)
  else
    warn('not_replaced', ref, invite.reason or 'forbidden')
  end
end

-- The invite rings, or is over: those that it replaces end.
function redial.replace(invite)
  local others = invite.others
  if others and others ~= '' then
    if type(others) == 'string' then
      others = cjson.decode(others)
      change(invite, 'others', '')
    else
      invite.others = nil
    end
    for _, ref in ipairs(others) do
      emit(callee_of(ref), 'replaced', ref, invite.caller, invite.device)
    end
  end
end

-- The same once the new invite has begun; if it is held (see call/glare.lua), later. A call to a group replaces when its legs have begun. Only another call to the
-- group ends before, and keeps its legs until then.
function redial.replace_when_begun(invite)
  if invite.held then
    return change(invite, 'others', json.strings(invite.others))
  elseif not is_group(invite) or not is_pending(invite) then
    return redial.replace(invite)
  end
  for _, ref in ipairs(invite.others) do
    local other = callee_of(ref) == invite.to and load_invite(ref)
    if other and is_pending(other) then
      end_replaced(other, invite.caller, invite.device)
    end
  end
  change(invite, 'others', json.strings(invite.others))
end
