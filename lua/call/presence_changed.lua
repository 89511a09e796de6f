-- What a change of presence does to invites and calls.
-- exports: presence_changed
-- include: core/emit
-- include: reach/presence
-- include: call/busy
-- include: call/callers
-- include: call/coming
-- include: call/loss

-- `change` is the difference that an event has made (see reach/presence.lua), nil when it has made none.
function presence_changed(change)
  if not change then
    return
  end
  local came, moved = change.came, change.moved
  if came then
    if came.registration.device then
      busy.moved(came.user, came.peer, came.registration.device)
    end
    come(came)
    continue_calls('registered', came.user, came.registration.device, came.peer, came.registration.at)
  end
  -- (A device that makes room for another one must not end a call that this one takes.)
  if change.went then
    lose(change.went)
  end
  if change.former then
    lose(change.former)
  end
  if moved then
    busy.moved(moved.user, moved.to, moved.device)
    continue_calls('overtaken', moved.user, moved.device, moved.to, moved.since, moved.from)
  end
end

-- Another user has registered the peer id, by the entry `since`.
function internal.peer_taken(user, peer, since)
  presence_changed(presence.taken(user, peer, since))
end

-- In every other shard than the trunk's. `ends` is JSON.
function internal.trunk_ended(_, user, peer, lost, since, ends, how)
  local unseen = how == 'lapsed' and how or nil
  presence_changed(presence.trunk_ended(user, peer, lost, since, cjson.decode(ends), how or '', unseen))
end
