-- ring|<ref>: nobody answered in time.
-- include: parts/invites

timers.ring = function(ref)
  local invite = load_invite(ref)
  if not invite then
    -- The invite is gone by its time to live: nothing but its indexes is left to clean.
    local from, _, to = string.match(ref, '^([^|]+)|([^|]+)|([^|]+)$')
    later({ 'SREM', key('pending', to), ref })
    emit(from, 'call_ended', ref, work.entry, work.entry)
  elseif is_pending(invite) then
    finish(invite, 'DECLINED_BY_TIMEOUT', 408, 'timeout')
  end
end
