-- What one shard tells another. With one shard the other one is always this one, and it is applied in place, inside
-- the same unit of work. `name` is the id that decides the shard (a user, a room).
-- include: parts/context

local internal = {}

local function emit(name, kind, ...)
  internal[kind](name, ...)
end
