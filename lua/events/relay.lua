-- An entry of the relay stream: more of what an earlier commit began.
--
-- Arguments  kind, the id that it is about, the entry of the first event, then what the kind needs
-- include: parts/legs

events.relay = function(kind, name, entry, ...)
  if not internal[kind] then
    error('field kind is ' .. kind .. ', which no rule knows', 0)
  end
  work.entry = entry
  internal[kind](name, ...)
end
