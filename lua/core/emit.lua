-- Messages between shards. A message has a kind and is about a name (a user, a group, a room), whose shard applies
-- it: `internal.kind(name, …)`. In the same shard `emit` applies it at once, inside the same unit of work. For
-- another shard the commit writes it to the relay stream, and a worker carries it there at least once; that shard
-- takes it once. All arguments are strings.
--
-- Messages to one shard go in bundles: one entry has those of all units of a call,
--
--   shard     the number of the shard
--   messages  a list in JSON of [kind, name, entry, argument…], where `entry` is that of the event that caused it
--   kind      "bundle"; with `name`, `entry` and `arguments` as a message that goes alone has them, though empty: to an
--             earlier release this is a message of an unknown kind, and it leaves such to others (workers/roles/relay.py)
--
-- Any other entry has one message, in the fields `kind`, `name`, `entry` and `arguments` (a list in JSON): pages of the
-- shard's own work, what goes to all shards (with the field `shard`), a large message, and one with a `traceparent`.
--
-- A relayed message can overtake an earlier one. So its handler (`work.relayed`) compares `work.entry`, the entry of
-- the event that caused it, with the current state.
-- exports: internal, messages, relay, emit, emit_everywhere, proceed, tombstone, is_over
-- include: core/unit
-- include: core/json
-- include: core/order
-- include: core/shards

internal, messages = {}, {}

local NONE = {}

-- The bytes of a bundle. A dead letter keeps as many of a field (`KEPT` in invites/events/kept_fields.py).
local MOST = 4096

-- The messages of this call's units to other shards: the bundle that is being filled for each, and the notes of entries.
local bundles, notes

each_call(function()
  bundles, notes = nil, nil
end)

local function note_entry(...)
  notes = notes or {}
  notes[#notes + 1] = { 'XADD', RELAY, '*', ... }
end

local function note_bundle(target, texts)
  note_entry('kind', 'bundle', 'name', '', 'entry', '0-0', 'arguments', '[]',
    'shard', int(target), 'messages', '[' .. table.concat(texts, ',') .. ']')
end

local function put(target, text)
  bundles = bundles or {}
  local bundle = bundles[target]
  if bundle and bundle.size + #text >= MOST then
    note_bundle(target, bundle)
    bundle = nil
  end
  if not bundle then
    bundle = { size = 1 } -- a bracket; each text has another one or a comma behind it
    bundles[target] = bundle
  end
  bundle[#bundle + 1], bundle.size = text, bundle.size + #text + 1
end

-- The unit is about to be written: its messages go with those of the other units.
function messages.send()
  local list = work.messages
  if list then
    for i = 1, #list, 2 do
      put(list[i], list[i + 1])
    end
  end
end

-- Writes what the units of this call have sent.
function messages.flush()
  if not bundles and not notes then
    return
  end
  for target, bundle in pairs(bundles or NONE) do
    note_bundle(target, bundle)
  end
  unit.begin('', '0-0')
  for i = 1, #notes do
    later(notes[i])
  end
  local failure = unit.write()
  if failure then
    error(failure, 0)
  end
end

-- Applies a message of another shard, or the next page of this shard's work.
function messages.apply(kind, name, entry, ...)
  if not internal[kind] then
    error('field kind is ' .. kind .. ': unknown kind of message', 0)
  end
  work.entry, work.relayed = entry, true
  internal[kind](name, ...)
end

-- Forwards a message to the shard that owns its name.
function messages.pass_on(message)
  put(shard_of(message[2]), cjson.encode(message))
end

-- Forwards a message alone, as an entry of this shard's own stream.
function messages.set_apart(message)
  local arguments = json.strings({ unpack(message, 4) })
  note_entry('kind', message[1], 'name', message[2], 'entry', message[3], 'arguments', arguments)
end

function relay(kind, name, arguments, target)
  local note = {
    'XADD', RELAY, '*', 'kind', kind, 'name', name, 'entry', work.entry, 'arguments', json.strings(arguments),
  }
  if target then
    note[#note + 1], note[#note + 2] = 'shard', int(target)
  end
  add('stream', note)
end

function emit(name, kind, ...)
  local target = shards > 1 and shard_of(name) or own
  if target == own then
    internal[kind](name, ...)
    return
  end
  local text = not work.trace and cjson.encode({ kind, name, work.entry, ... })
  if not text or #text + 2 > MOST then
    return relay(kind, name, { ... })
  end
  unit.must_be(RELAY, 'stream')
  local list = work.messages or {}
  work.messages = list
  list[#list + 1], list[#list + 2] = target, text
end

-- Tells all other shards. A relayed message stops here: its sender has told the others.
function emit_everywhere(name, kind, ...)
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
function proceed(name, kind, ...)
  relay(kind, name, { ... })
end

-- The invite is over, and its beginning may still be on its way to this shard. `made` is the entry that made it.
function tombstone(ref, made)
  remember(key('over', ref), made, lifetimes.order())
end

function is_over(ref, made)
  local over = redis.call('GET', key('over', ref))
  return over and not order.later(made, over)
end
