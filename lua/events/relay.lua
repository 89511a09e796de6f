-- Entries of a relay stream: what another shard has to tell, and more of what an earlier commit of this one began.
--
-- relay          kind, the name that it is about, the entry of the first event, then what the kind needs
-- misrouted      the name whose shard the event belongs to, type and payload as they came: sends the event there
-- relayedEvent   such an event there: the entry that it had, its rule, the rule's arguments
-- include: core/commit
-- include: core/emit

function events.relay(kind, name, entry, ...)
  if not internal[kind] then
    error('field kind is ' .. kind .. ', which no rule knows', 0)
  end
  work.entry, work.relayed = entry, true
  internal[kind](name, ...)
end

function events.misrouted(name, type, payload)
  add('stream', { 'XADD', RELAY, '*', 'kind', 'event', 'name', name, 'entry', work.entry, 'type', type, 'payload', payload })
end

function events.relayedEvent(entry, rule, ...)
  work.entry = entry
  events[rule](...)
end
