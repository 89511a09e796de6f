-- Keeps an entry that cannot be processed as a dead letter, with the reason, and answers the peer that has sent it.
--
-- Arguments  type, payload (as they came); peer, user, transaction, head ("" where the payload does not give them);
--            stream ("" for events)
-- include: core/commit
-- include: out/notify

function events.dead(type, payload, error, deliveries, peer, user, transaction, head, stream)
  local entry = work.ahead or work.entry
  local letter = {
    'XADD', DEAD, '*', 'type', type, 'payload', payload, 'error', error, 'entry', entry,
    'deliveries', deliveries,
  }
  if stream ~= '' then
    letter[#letter + 1], letter[#letter + 2] = 'stream', stream
  end
  add('stream', letter)
  answer({ type = type, peer = peer, user = user, transaction = transaction }, head, 400, 'invalid')
  warn('dead_letter', type, entry, error)
end
