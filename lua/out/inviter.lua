-- The notifications for the inviter, and the call record.
-- exports: end_with, record, tell_outcome, tell_progress
-- include: out/notify

-- Tells the inviting peer, and the peer of a returning leg. `asking` ({peer, user}) is a peer that repeats the invite;
-- only it gets the answer.
local function tell_inviter(invite, kind, rest, asking, code)
  local peers, users = quoted[asking and asking.peer or invite.caller], quoted[asking and asking.user or invite.from]
  if invite.backPeer and not asking then
    peers = invite.backPeer ~= invite.caller and peers .. ',' .. quoted[invite.backPeer] or peers
    users = invite.backUser ~= invite.from and users .. ',' .. quoted[invite.backUser] or users
  end
  notify(kind, '[' .. peers .. ']', '[' .. users .. ']', head_of(invite) .. rest, invite, code,
    not asking and not invite.backPeer and story.INVITER or nil)
end

function tell_progress(invite, transaction, asking)
  local inside, ringing, pushed = invite.kind.count(invite)
  local code = ringing > 0 and 180 or pushed > 0 and 110 or 100
  tell_inviter(invite, 'inviteProgress',
    ',"code":' .. digits[code] .. ',"candidates":' .. digits[inside] .. ',"ringing":' .. digits[ringing]
      .. ',"pushed":' .. digits[pushed]
      .. (invite.waiting and ',"waiting":true' or '')
      .. (transaction and transaction ~= '' and ',"transaction":' .. transaction or '') .. '}', asking, digits[code])
end

-- The end of an object, with the context of an answer for the inviter.
function end_with(context)
  return context and ',"context":' .. context .. '}' or '}'
end

-- The reason and the ref of the invite that this one has merged into, if it has (see call/glare.lua).
local function merged_into(invite)
  return invite.into and ',"reason":"merged","into":' .. quoted[invite.into] or ''
end

-- `who` is a member that has accepted, as `peer`, where others may accept, too.
function tell_outcome(invite, asking, who, peer, context)
  if who or invite.state == 'ACCEPTED' then
    if not who then
      who, peer, context = invite.whoAccepted, invite.acceptedBy, invite.answerContext
    end
    tell_inviter(invite, 'inviteAccepted', ',"room":' .. json.text(invite.room)
      .. ',"code":200,"whoAccepted":' .. quoted[who] .. ',"peer":' .. json.text(peer)
      .. merged_into(invite) .. end_with(context), asking, '200')
  else
    tell_inviter(invite, 'inviteRejected', ',"code":' .. invite.code .. ',"reason":"' .. invite.reason .. '"'
      .. end_with(invite.answerContext), asking, invite.code)
  end
end

-- The call record: exactly one for each invite that is neither a leg nor a probe.
function record(invite)
  if invite.probe then
    return
  end
  measures.add((invite.group and 'group ' or invite.inviteRequest == '1' and 'request ' or 'direct ')
    .. invite.state .. ' ' .. invite.reason .. ' ' .. invite.createdAt .. ' ' .. (invite.stopped or ''))
  notify('INVITE_COMPLETED', '[]', '[]', head_of(invite)
    .. ',"room":' .. json.text(invite.room)
    .. ',"group":' .. (invite.group and 'true' or 'false')
    .. ',"inviteRequest":' .. (invite.inviteRequest == '1' and 'true' or 'false')
    .. ',"mediatypes":' .. json.opaque(invite.mediatypes)
    .. ',"state":"' .. invite.state .. '","error":' .. invite.code
    .. ',"whoAccepted":' .. json.text(invite.whoAccepted)
    .. (invite.into and ',"into":' .. quoted[invite.into] or '')
    .. ',"startedAt":' .. invite.createdAt .. ',"endedAt":' .. invite.endedAt
    .. ',"candidates":[' .. table.concat(invite.kind.results(invite), ',') .. ']}')
  debug('completed')
end
