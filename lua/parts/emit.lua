-- What one shard tells another. With one shard the other one is always this one, and it is applied in place, inside
-- the same unit of work. `name` is the id that decides the shard (a user, a group, a room). All arguments are strings.
-- include: parts/unit
-- include: parts/json

local internal = {}

local function emit(name, kind, ...)
  internal[kind](name, ...)
end

-- The same, but in a commit of its own, soon: what concerns many is done page by page, so that no script runs long.
local function proceed(name, kind, ...)
  add('stream', { 'XADD', RELAY,
    '*', 'kind', kind, 'name', name, 'entry', work.entry, 'arguments', json.strings({ ... }),
  })
end
