-- Messages between shards. A message has a kind and is about a name (a user, a group, a room), whose shard applies
-- it: `internal.kind(name, …)`. In the same shard `emit` applies it at once, inside the same unit of work. For
-- another shard the commit writes it to the relay stream, and a worker carries it there at least once; that shard
-- takes it once. All arguments are strings.
--
-- A relayed message can overtake an earlier one. So its handler (`work.relayed`) compares `work.entry`, the entry of
-- the event that caused it, with the current state.
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
  if shards == 1 or is_here(name) then
    internal[kind](name, ...)
  else
    relay(kind, name, { ... })
  end
end

-- Tells all other shards. A relayed message stops here: its sender has told the others.
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

-- Continues work on many invites or legs in a commit of its own, soon. Working in pages keeps each script short.
local function proceed(name, kind, ...)
  relay(kind, name, { ... })
end

-- The invite is over, and its beginning may still be on its way to this shard. `made` is the entry that made it.
local function tombstone(ref, made)
  remember(key('over', ref), made, lifetimes.order())
end

local function is_over(ref, made)
  local over = redis.call('GET', key('over', ref))
  return over and not order.later(made, over)
end
