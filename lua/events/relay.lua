-- An entry of the relay stream: more of what an earlier commit began.
--
-- Arguments  kind, the id that it is about, the entry of the first event, then what the kind needs
-- include: parts/legs

events.relay = function(kind, name, entry, ...)
  work.entry = entry
  internal[kind](name, ...)
end
