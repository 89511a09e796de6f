-- Keeps an entry that cannot be processed as a dead letter, with the reason, and answers the peer that has sent it.
--
-- Arguments  type, for the answer and the log; peer, user, transaction, head ("" where the payload does not give
--            them); stream ("" for events); the fields of the entry as the letter keeps them: name, value, …
-- include: core/commit
-- include: out/notify

function events.dead(type, error, deliveries, peer, user, transaction, head, stream, ...)
  local entry = work.ahead or work.entry
  local letter = { 'XADD', DEAD, '*', ... }
  local function keep(name, value)
    letter[#letter + 1] = name
    letter[#letter + 1] = value
  end
  keep('error', error)
  keep('entry', entry)
  keep('deliveries', deliveries)
  if stream ~= '' then
    keep('stream', stream)
  end
  add('stream', letter)
  answer({ type = type, peer = peer, user = user, transaction = transaction }, head, 400, 'invalid')
  warn('dead_letter', type, entry, error)
end
