-- The phone network had an invite (parallelSip), and now the callee's own devices ring.
-- exports: call_at_home
-- include: call/busy
-- include: call/ending
-- include: call/indexes
-- include: call/waking
-- include: out/devices
-- include: reach/away
-- include: reach/presence
-- include: reach/resolve
-- include: reach/user_states

-- The callee's devices that are no candidates yet; none if the callee does not want the call.
local function devices_of(invite, lookup_result)
  local devices = {}
  if invite.to == invite.from or user_states.refuses(invite.to, invite.from) then
    return devices
  end
  for id, registered in pairs(registry.of(invite.to)) do
    if not candidates_of(invite)[id] and id ~= invite.caller then
      devices[#devices + 1] = registry.candidate(id, invite.to, registered)
    end
  end
  local answer = callees.looked_up({ found = lookup_result ~= '' and cjson.decode(lookup_result) or nil }, true)
  presence.add_connected_at_sippo(devices, invite.to, answer.peers, invite.caller, work.entry)
  add_push_candidates(devices, invite.to, answer.push)
  away.add(devices, invite.to, invite.caller)
  return devices
end

-- Rings the callee's devices; if the callee is in another call, only those that busy.choose leaves. `lookup_result` is
-- what the worker has looked up (see reach/resolve.lua), "" for nothing.
function call_at_home(invite, lookup_result)
  local devices = devices_of(invite, lookup_result)
  local rung = busy.choose(invite, devices)
  change(invite, 'parallel', 'back')
  later({ 'SREM', key('parallel', invite.to), invite.ref })
  index_pending(invite.to, invite.ref)
  if #rung > 0 then
    for _, candidate in ipairs(rung) do
      add_candidate(invite, candidate)
    end
    ring(invite, rung, false)
    waking.expect_ringing(invite, rung)
  elseif #devices > 0 then
    finish(invite, 'DECLINED', 486, 'busy')
  end
end
