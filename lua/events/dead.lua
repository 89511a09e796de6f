-- What cannot be processed is kept, with a sentence that says why; the peer that sent it is told.
--
-- Arguments  type, payload (as they came), error, deliveries; peer, user, transaction ("" where the payload did
--            not give them), head (how a payload about the invite begins), stream (where it was, "" for events)
-- include: core/commit
-- include: out/notify

events.dead = function(kind, payload, sentence, deliveries, peer, user, transaction, about, stream)
  local letter = {
    'XADD', DEAD, '*', 'type', kind, 'payload', payload, 'error', sentence, 'entry', work.entry,
    'deliveries', deliveries,
  }
  if stream ~= '' then
    letter[#letter + 1], letter[#letter + 2] = 'stream', stream
  end
  add('stream', letter)
  answer({ type = kind, peer = peer, user = user, transaction = transaction }, about, 400, 'invalid')
  warn('dead_letter', kind, work.entry, sentence)
end
