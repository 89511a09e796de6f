-- A call's story: what has happened to an invite, in story:<ref>, a list of texts of which the last 64 stay. The commit of
-- an event appends one text for each invite, in the same step:
--
--   ms step code who last before, then for all that the step has told: what code who
--
-- step  an event (`accept`), a timer (`timer.ring`) or a message of another shard (`relay.leg_cancel`) that has changed the
--       invite, or has told somebody of it; `who` is the peer, or the device, user or member that it names
-- last  the entry of the last notification of the step; before: how many entries before it the first one is
-- what  a notification, a push job, or what has become of a leg; `who` is a JSON list of ten names at most, and "+" and the
--       number of the others
--
-- A space separates them, "-" stands for what is missing. The story decides nothing, so no call waits for one that cannot
-- be written. It lives as long as its invite.
-- exports: story
-- include: core/unit
-- include: core/json

story = {}

local MOST, MOST_NAMES, NONE = 64, 10, {}

-- What the unit has told of the invite at hand: five times what, code and who, or less, and empty texts. Strings are what
-- costs here, so all become one at the end. Most units tell of one invite. What they have told before of another one, or
-- in more pieces, is its `heard`.
local p, used, at_hand, unit = {}, 0, nil, nil

for i = 1, 15 do
  p[i] = ''
end

-- Words with their spaces. There are few.
local opening, closing = {}, {}

local function put_away()
  at_hand.heard = (at_hand.heard or '') .. table.concat(p, '', 1, used)
  for i = 1, used do
    p[i] = ''
  end
  used = 0
end

local function take_up(invite)
  if unit == work then
    put_away()
  else
    for i = 1, used do
      p[i] = ''
    end
    unit, used = work, 0
  end
  at_hand = invite
  if not work.changed[invite.ref] then
    work.unchanged = work.unchanged or {}
    work.unchanged[invite.ref] = invite
  end
end

-- Notes what is told of the invite. `who` is a JSON list, `note` the number of the note of a notification.
function story.tell(invite, what, code, who, note)
  code = code or '-'
  if unit ~= work or at_hand ~= invite or used == 15 then
    take_up(invite)
  end
  if not opening[what] then
    opening[what] = ' ' .. what .. ' '
  end
  if not closing[code] then
    closing[code] = code .. ' '
  end
  p[used + 1], p[used + 2], p[used + 3] = opening[what], closing[code], who
  used = used + 3
  if note then
    invite.first_told = invite.first_told or work.told
    invite.last_told, invite.last_note = work.told, note
  end
end

-- The list of peers in a story; `list` is all of it as JSON.
function story.names(peers, list)
  if #peers <= MOST_NAMES then
    return list
  end
  return json.strings({ unpack(peers, 1, MOST_NAMES) }) .. '+' .. int(#peers - MOST_NAMES)
end

local LEGS = { OPEN = 'legStarted', OVER = 'legOver' }

-- Notes what becomes of a leg of the group call.
function story.tell_leg(call, leg)
  if settings.story and LEGS[leg.state] then
    story.tell(call, LEGS[leg.state], leg.endReason and int(leg.endReason), json.strings({ leg.member }))
  end
end

-- Where an event names who it comes from, counted from its first argument; 0 for all others.
local WHO = { registered = 1, joined = 2, pushTaken = 1, pushUnsure = 1, pushGone = 1, pushDropped = 1 }

-- The same of messages.
local WHO_OF_MESSAGE = {
  leg_ended = 4, leg_counts = 4, leg_asks = 4, leg_named = 4, leg_left_out = 4, caller_moved = 4, replaced = 4,
  user_joined = 1,
}

local WHO_OF_TIMER = { grace = true, caller = true, lapse = true, left = true }

local function named(who)
  return who and who ~= '' and who or '-'
end

-- What the unit settles, and who that comes from.
local function step(rule, place)
  if not place then
    local kind, rest = string.match(rule, '^(%l+)|(.+)$')
    return 'timer.' .. kind, WHO_OF_TIMER[kind] and string.match(rest, '[^|]+$') or '-'
  elseif rule == 'relayedEvent' then
    rule, place = ARGV[place + 1], place + 2
  elseif rule == 'relay' and ARGV[place] == 'answered' then -- (See call/requests.lua.)
    rule, place = ARGV[place + 3], place + 7
  elseif rule == 'relay' then
    local at = WHO_OF_MESSAGE[ARGV[place]]
    return 'relay.' .. ARGV[place], at and named(ARGV[place + at]) or '-'
  end
  local who = ARGV[place + (WHO[rule] or 0)]
  if rule == 'joined' and who == '' then
    who = ARGV[place] -- nobody knows the peer
  end
  return rule, named(who)
end

local function append(invite, text)
  local name = key('story', invite.ref)
  local length = redis.pcall('RPUSH', name, text)
  if type(length) ~= 'number' then
    return
  elseif length > MOST then
    redis.pcall('LTRIM', name, -MOST, -1)
  end
  local ends = invite.live_until
  if not ends and length == 1 then -- the invite is older than its story
    ends = invite.state == 'PENDING' and lifetimes.pending(invite) or lifetimes.ended(invite)
  end
  if ends then
    redis.pcall('PEXPIREAT', name, ends > now and ends or now + 1)
  end
end

local function write_one(invite, what, who, replies)
  local last, before = '-', '-'
  if invite.last_note then
    last, before = replies[invite.last_note], int(invite.last_told - invite.first_told)
  end
  local code, heard = work.code or '-', invite.heard or ''
  if unit == work and at_hand == invite then
    append(invite, int(now) .. ' ' .. what .. ' ' .. code .. ' ' .. who .. ' ' .. last .. ' ' .. before .. heard
      .. p[1] .. p[2] .. p[3] .. p[4] .. p[5] .. p[6] .. p[7] .. p[8] .. p[9] .. p[10] .. p[11] .. p[12] .. p[13] .. p[14]
      .. p[15])
  else
    append(invite, int(now) .. ' ' .. what .. ' ' .. code .. ' ' .. who .. ' ' .. last .. ' ' .. before .. heard)
  end
end

-- Writes the stories, after the notes of the unit, which the server has answered with `replies`. `rule` and `place` are the
-- rule of an event and the place of its first argument; of a timer `rule` is the member, without a place. A group's counts
-- change with each device: that alone is no step.
function story.write(replies, rule, place)
  local what, who
  for _, invite in pairs(work.changed) do
    if invite.group ~= invite.to or invite.heard or (unit == work and at_hand == invite) then
      if not what then
        what, who = step(rule, place)
      end
      write_one(invite, what, who, replies)
    end
  end
  for ref, invite in pairs(work.unchanged or NONE) do
    if not work.changed[ref] then
      what, who = step(rule, place)
      write_one(invite, what, who, replies)
    end
  end
end
