-- Entries of a relay stream: what another shard has to tell, and more of what an earlier commit of this one began.
--
-- relay          kind, the name that it is about, the entry of the first event, then what the kind needs
-- misrouted      the name whose shard the event belongs to, type and payload as they came: sends the event there
-- relayedEvent   such an event there: the entry that it had, its rule, the rule's arguments
-- include: core/commit
-- include: core/emit

events.relay = function(kind, name, entry, ...)
  if not internal[kind] then
    error('field kind is ' .. kind .. ', which no rule knows', 0)
  end
  work.entry, work.relayed = entry, true
  internal[kind](name, ...)
end

events.misrouted = function(name, kind, payload)
  add('stream', { 'XADD', RELAY, '*', 'kind', 'event', 'name', name, 'entry', work.entry, 'type', kind, 'payload', payload })
end

events.relayedEvent = function(entry, rule, ...)
  work.entry = entry
  events[rule](...)
end
