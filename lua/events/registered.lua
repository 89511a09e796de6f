-- registered: a device of a user, or a trunk, can be reached. It rings for each pending invite with the remaining
-- time. A device that comes back rings again, or learns that its ringing is over.
--
-- Arguments  registry (the stored registration, JSON); device, session ("" where none is given); expires (ms or "");
--            trunk ("1" or "0")
-- Reads      the peer's registration and end, the user's registrations, pending, lately ended and own invites
-- Why atomic a concurrent invite sees the registration, or the registration sees the invite
-- include: core/commit
-- include: call/presence_changed
-- include: reach/registrar

-- The stored registration names its entry.
local function counted_as_now(registry)
  local first, last = string.find(registry, '"at":"' .. work.ahead .. '"', 1, true)
  return string.sub(registry, 1, first - 1) .. '"at":"' .. work.entry .. '"' .. string.sub(registry, last + 1)
end

local function register(user, peer, raw, device, session, expires, trunk)
  local change = registrar.register({
    user = user, peer = peer, at = work.entry, raw = work.ahead and counted_as_now(raw) or raw, trunk = trunk,
    device = device ~= '' and device or nil, session = session ~= '' and session or nil, expires = tonumber(expires),
  })
  presence_changed(change)
  return change
end

function events.registered(user, peer, registry, device, session, expires, trunk)
  register(user, peer, registry, device, session, expires, trunk == '1')
end

-- In every other shard, since every shard uses all trunks. The peer ids that the trunk has replaced (each with the
-- entry of its registration) end here, too, even if the trunk is gone already, or their registrations are still on
-- their way.
function internal.trunk_registered(_, user, peer, registry, device, session, expires, ...)
  local change, replaced = register(user, peer, registry, device, session, expires, true), { ... }
  for i = 1, #replaced, 2 do
    if not (change and change.replaced and change.replaced[replaced[i]]) then
      presence_changed(presence.trunk_ended(user, replaced[i], work.entry, replaced[i + 1],
        { ['|' .. device] = work.entry }, '', 'replaced'))
    end
  end
end
