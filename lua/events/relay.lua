-- Entries of a relay stream: messages of other shards, and the next pages of this shard's work (see core/emit.lua).
--
-- relay         applies a message; `entry` is the entry of the event that caused it
-- bundle        the messages of one call of another shard: the commit applies each in a unit of its own
-- misrouted     an event is in the wrong stream: sends it to the shard of `name`
-- relayedEvent  applies such an event in its shard, as if it had come with its first `entry`
-- include: core/commit
-- include: core/emit

-- Tells messages with the same entry id apart, 1 to 4095: a shard whose server has failed over may give an id again.
local function mark(kind, name, entry)
  local ms, seq = order.split(entry)
  return (ms + 31 * seq + 7 * #kind + #name) % 4095 + 1
end

function events.relay(kind, name, entry, ...)
  work.mark = mark(kind, name, entry)
  messages.apply(kind, name, entry, ...)
end

function events.bundle(messages)
  local bundle = cjson.decode(messages)
  work.mark, work.bundle = mark(messages, '', bundle[1][3]), bundle
  unit.must_be(RELAY, 'stream')
end

function events.misrouted(name, type, payload)
  add('stream', { 'XADD', RELAY,
    '*', 'kind', 'event', 'name', name, 'entry', work.entry, 'type', type, 'payload', payload,
  })
end

function events.relayedEvent(entry, rule, ...)
  work.mark = mark(rule, '', entry)
  work.entry = entry
  events[rule](...)
end
