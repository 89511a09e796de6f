-- A call's story: what happened to an invite, in its field `story`: lines, of which the last 64 stay. The commit of an
-- event appends one line for each invite, in the same step:
--
--   ms step code who last before, then for each notification of the step: what code who
--
-- ms    since `createdAt`
-- step  an event (`accept`), a timer (`timer.ring`) or a message of another shard (`relay.leg_cancel`) that has changed the
--       invite, or has told somebody of it; `who` is the peer, or the device, user or member that it names
-- last  the entry of the last notification of the step, without its ms if they are those of the step; before: how many
--       entries before it its first one is, or that of another invite that the step has changed
-- what  a notification, a push job, or what has become of a leg; `who` is a JSON list of ten names at most, and "+" and the
--       number of the others
--
-- A space separates them, "-" stands for what is missing. Marks spare the names that most lines have; no id has a "|":
--
-- |        `who` is the inviter's peer, the invite's `caller`; in a list: [|]
-- *        an invitation went to all candidates
-- rings    of the first line: all candidates are invited, and the inviter knows: "invitation - * inviteProgress 100 [|]"
--
-- When the candidates or the caller change, the story names those that the marks have stood for. No rule depends on the
-- story, so no call waits for one that cannot be written. (Before 0.2.0 it was a list, story:<ref>, with ms since 1970.)
-- exports: story
-- include: core/unit
-- include: core/json

story = {}

local MOST, NONE = 64, {}
local SHORT = 14 * MOST -- bytes: a line has more

-- Notes a notification about the invite. `who` is a JSON list, `note` the number of the note of a notification.
function story.tell(invite, what, code, who, note)
  local heard = invite.heard
  if not heard and not work.changed[invite.ref] then
    work.unchanged = work.unchanged or {}
    work.unchanged[invite.ref] = invite
  end
  invite.heard = (heard or '') .. ' ' .. what .. ' ' .. (code or '-') .. ' ' .. who
  work.last_note = note or work.last_note
end

story.MOST_NAMES = 10
story.ALL, story.INVITER = '*', '[|]'

local RINGS = ' invitation - * inviteProgress 100 [|]'
local RINGS_FIRST = '^(%S+ %S+ %S+ %S+ %S+ %S+) rings'

-- The names replace a mark in what is told, and in what this unit tells.
local function spell_out(invite, mark, names)
  local known = invite.story and string.gsub(invite.story, RINGS_FIRST, '%1' .. RINGS)
  invite.story = known and string.gsub(known, mark, names)
  invite.heard = invite.heard and string.gsub(invite.heard, mark, names)
end

-- The candidates are about to change. `names` returns those of the present ones, a list in JSON.
function story.name_all(invite, names)
  spell_out(invite, '( invitation %- )%*', function(before)
    return before .. names()
  end)
end

-- The caller is about to change.
function story.name_inviter(invite)
  local caller = invite.caller
  spell_out(invite, ' (%[?)|%]?', function(bracket)
    return ' ' .. (bracket == '' and caller or '[' .. quoted[caller] .. ']')
  end)
end

local LEGS = { RINGING = 'legStarted', CLAIMED = 'legOver', OVER = 'legOver' }

-- Notes what becomes of a leg of the group call.
function story.tell_leg(call, leg)
  if settings.story and LEGS[leg.state] then
    story.tell(call, LEGS[leg.state], leg.endReason and int(leg.endReason), json.strings({ leg.member }))
  end
end

-- The argument of an event that names its sender, counted from the first; 0 for all others.
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

-- What the unit settles, and its sender.
local function step(rule, arguments, place)
  if not place then
    local kind, rest = string.match(rule, '^(%l+)|(.+)$')
    return 'timer.' .. kind, WHO_OF_TIMER[kind] and string.match(rest, '[^|]+$') or '-'
  elseif rule == 'relayedEvent' then
    rule, place = arguments[place + 1], place + 2
  elseif rule == 'relay' and arguments[place] == 'answered' then -- (See call/requests.lua.)
    rule, place = arguments[place + 3], place + 7
  elseif rule == 'relay' then
    local at = WHO_OF_MESSAGE[arguments[place]]
    return 'relay.' .. arguments[place], at and named(arguments[place + at]) or '-'
  end
  local who = arguments[place + (WHO[rule] or 0)]
  if rule == 'joined' and who == '' then
    who = arguments[place] -- nobody knows the peer
  end
  return rule, named(who)
end

-- The last lines of a story.
local function cut(text)
  local starts, count, at = { 1 }, 1, string.find(text, '\n', 1, true)
  while at do
    count = count + 1
    starts[count] = at + 1
    at = string.find(text, '\n', at + 1, true)
  end
  return count > MOST and string.sub(text, starts[count - MOST + 1]) or text
end

local function write_one(invite, what, who, replies)
  local last, before = '-', '-'
  if invite.heard and work.last_note then
    local ms = digits[now]
    last, before = replies[work.last_note], digits[work.told - 1]
    last = string.sub(last, 1, #ms) == ms and string.sub(last, #ms + 1) or last
  end
  local heard = invite.heard or ''
  if heard == RINGS and not invite.story then
    heard = ' rings'
  end
  local line = digits[now - numbers[invite.createdAt]] .. ' ' .. what .. ' ' .. (work.code or '-') .. ' '
    .. (who == invite.caller and '|' or who) .. ' ' .. last .. ' ' .. before .. heard
  local story = invite.story and invite.story .. '\n' .. line or line
  redis.pcall('HSET', invite.fresh[2], 'story', #story > SHORT and cut(story) or story)
end

-- Writes the stories, after the notes of the unit, which the server has answered with `replies`. `arguments` are those of the
-- event's rule, from `place` on; of a timer `rule` is the member, without arguments. A group's counts
-- change with each device: that alone is no step.
function story.write(replies, rule, arguments, place)
  local what, who
  for _, invite in pairs(work.changed) do
    if invite.group ~= invite.to or invite.heard then
      if not what then
        what, who = step(rule, arguments, place)
      end
      write_one(invite, what, who, replies)
    end
  end
  for ref, invite in pairs(work.unchanged or NONE) do
    if not work.changed[ref] then
      what, who = step(rule, arguments, place)
      write_one(invite, what, who, replies)
    end
  end
end
