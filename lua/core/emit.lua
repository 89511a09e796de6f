-- What one shard tells another. `name` is the id that decides the shard (a user, a group, a room). In the same shard it is
-- applied in place, inside the same unit of work; what is meant for another is written to the relay stream by this commit,
-- and a worker carries it there: at least once, taken once. All arguments are strings.
--
-- What was carried can overtake what was written before it. So whatever takes it (`work.relayed`) looks at the present
-- state, and at the entry of the event that it all began with.
-- include: core/unit
-- include: core/json
-- include: core/order
-- include: core/shards

local internal = {}

local function relay(kind, name, arguments, target)
  local note = {
    'XADD', RELAY, '*', 'kind', kind, 'name', name, 'entry', work.entry, 'arguments', json.strings(arguments),
  }
  if target then
    note[#note + 1], note[#note + 2] = 'shard', int(target)
  end
  add('stream', note)
end

local function emit(name, kind, ...)
  if is_here(name) then
    internal[kind](name, ...)
  else
    relay(kind, name, { ... })
  end
end

-- Tells all other shards, unless one of them has told this one.
local function emit_everywhere(name, kind, ...)
  if work.relayed then
    return
  end
  for target = 0, shards - 1 do
    if target ~= own then
      relay(kind, name, { ... }, target)
    end
  end
end

-- The same shard, but in a commit of its own, soon: what concerns many is done page by page, so that no script runs long.
local function proceed(name, kind, ...)
  relay(kind, name, { ... })
end

-- An invite is over that another shard may still hear the beginning of. `made` is the entry of the event that made it.
local function tombstone(ref, made)
  remember(key('over', ref), made, now + MEMORY)
end

local function is_over(ref, made)
  local over = redis.call('GET', key('over', ref))
  return over and not order.later(made, over)
end
