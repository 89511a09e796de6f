-- step|<ref>: in a group that is called one after the other, the next member's turn has come.
-- include: parts/legs

timers.step = function(ref)
  local call = load_invite(ref)
  if call and is_pending(call) then
    group_call.step(call)
  end
end
