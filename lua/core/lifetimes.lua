-- How long each thing is kept. Every time to live is one of these. All are points in time, in ms since 1970.
-- exports: lifetimes
-- include: core/context

lifetimes = {}

local MINUTE, HOUR, DAY = 60000, 3600000, 86400000

-- How long ended invites are kept. `retainAfter` is for people who read them. Work that the end leaves needs a minute:
-- pages of a group's cancel, messages of other shards, repeats by devices that have not received it.
local function kept()
  local retained = settings.retain_after
  return retained > MINUTE and retained or MINUTE
end

-- A pending invite, its candidates and legs. After a night without workers it still gets its outcome.
function lifetimes.pending(invite)
  return numbers[invite.expiresAt] + DAY
end

-- The same once the invite is over, and a push that tells its end. A device that has not received the end rings until
-- the deadline.
function lifetimes.over(invite)
  local deadline, readable = tonumber(invite.expiresAt), now + kept()
  return deadline > readable and deadline or readable
end

-- When the times of an invite that is over end.
function lifetimes.ended(invite)
  return math.max(tonumber(invite.expiresAt), tonumber(invite.endedAt) + kept())
end

-- How long a user's index of ended invites keeps each of them: as long as any invite can be over (ms).
function lifetimes.ended_index()
  return math.max(settings.max_ring_timeout, kept())
end

-- An index of pending invites, even if nothing cleans it.
function lifetimes.index()
  return now + settings.max_ring_timeout + DAY
end

-- An inviteRequest, for the invite that answers it. A device accepts just before the deadline and invites after it.
function lifetimes.request(invite)
  return tonumber(invite.expiresAt) + kept()
end

-- A stop without its invite. The invite may have waited for as long as an invite rings.
function lifetimes.stopped()
  return now + settings.max_ring_timeout + kept()
end

-- A call whose outcome its caller may miss: until it is no longer readable.
function lifetimes.missed()
  return now + settings.max_ring_timeout + kept()
end

-- Keys that order delayed events: marks of peers and rooms, tombstones, news. The mark of a lost device also says which
-- device may come back in its grace.
function lifetimes.order()
  return now + math.max(HOUR, settings.caller_grace + MINUTE, settings.remove_after + MINUTE,
    settings.room_grace + MINUTE)
end

-- A copy of an index; each page removes the members that it has done.
function lifetimes.copy()
  return now + DAY
end

-- The note of a failed timer.
function lifetimes.retry()
  return now + DAY
end
