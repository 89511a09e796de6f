-- The wishes of users: user-state:<user>, "entry|dnd|until|" and the users that it blocks, each followed by "|".
--
-- entry  that of the event that has said it
-- dnd    "1" or "0"
-- until  the time (ms since 1970) at which dnd is over, or ""
-- exports: user_states
-- include: core/unit

user_states = {}

-- Returns the parts; the blocked users begin and end with "|", which no id has.
function user_states.read(value)
  return string.match(value, '^([^|]*)|([^|]*)|([^|]*)(|.*)$')
end

-- Must no invite of the inviter ring for the user with this state? `value` is nil or false where there is none.
function user_states.refuse(value, inviter)
  if not value then
    return false
  end
  local _, dnd, until_when, blocked = user_states.read(value)
  return (dnd == '1' and (until_when == '' or now < tonumber(until_when)))
    or string.find(blocked, '|' .. inviter .. '|', 1, true) ~= nil
end

-- The same for a user of this shard whose state is not at hand.
function user_states.refuses(user, inviter)
  return user_states.refuse(redis.call('GET', key('user-state', user)), inviter)
end
