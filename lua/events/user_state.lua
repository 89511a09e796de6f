-- userState: all of a user's wishes. Invites that begin later heed them.
--
-- Arguments  dnd ("1" or "0"); until_when (ms since 1970, "" without an end); blocked (users, each followed by "|")
-- Reads      the user's last state
-- include: core/commit
-- include: core/order
-- include: reach/user_states

function events.userState(user, dnd, until_when, blocked)
  local name = key('user-state', user)
  local known = redis.call('GET', name)
  if known and order.later(user_states.read(known), work.entry) then
    return
  end
  local value = work.entry .. '|' .. dnd .. '|' .. until_when .. '|' .. blocked
  if blocked ~= '' or (dnd == '1' and until_when == '') then
    later({ 'SET', name, value })
  else
    remember(name, value, math.max(tonumber(until_when) or 0, lifetimes.order()))
  end
end
