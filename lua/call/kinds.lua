-- The kinds of call, each a table of what it does in its own way. `invite.kind` is one of them.
--
-- direct  an invite to a user or a number; it rings devices (call/direct.lua)
-- group   an invite to a group: its `group` is its `to`; its legs ring devices (group/groups.lua)
-- leg     the part of a group call for one member: its `to` is the member, its `group` the group (group/legs.lua)
--
-- count(invite)           the number of devices that can accept, that ring, and that sippo-server pushed to
-- finish(invite, state, code, reason, winner, decliner)
--                         ends the pending invite; `winner` is the accepting candidate (of a group: the winning leg),
--                         `decliner` the candidate whose answer ended it
-- accept(invite, request) a device accepts (not of a group: its legs are accepted)
-- progress(invite, what)  a device rings ("ringing"), or sippo-server has taken a push ("pushed")
-- repeated(invite, peer)  the inviter has repeated the invite from `peer`
-- update(invite)          context or mediatypes have changed: the devices hear it
-- results(invite)         the items of the call record (not of a leg: the record is the group's)
-- report(invite)          the invite has changed in this commit (legs only: they tell their group)
-- begin, step             groups only, see there

local kinds = { direct = {}, group = {}, leg = {} }

local function kind_of(invite)
  if not invite.group then
    return kinds.direct
  end
  return invite.group == invite.to and kinds.group or kinds.leg
end

local function is_group(invite)
  return invite.kind == kinds.group
end
