-- The kinds of call. Each kind is a table of functions; `invite.kind` is one of them.
--
-- direct  an invite to a user or a number: it rings devices (call/direct.lua, call/winning.lua)
-- group   an invite to a group: `group` is `to`. It has a leg for each member (group/groups.lua)
-- leg     an invite to one member of a group: `to` is the member, `group` the group. It rings devices (group/legs.lua)
--
-- count(invite)           returns how many devices can accept, how many ring, how many sippo-server has pushed to
-- finish(invite, state, code, reason, winner, decliner)
--                         ends the pending invite; `winner` is the accepting candidate (of a group: the winning leg),
--                         `decliner` the candidate whose answer ends the invite
-- accept(invite, request, candidate)
--                         a device accepts; `candidate` is nil if it is none yet (direct, leg)
-- progress(invite, what)  a device has begun to ring ("ringing"), or sippo-server has taken a push ("pushed")
-- repeated(invite, peer)  the inviter has repeated the invite from `peer` (direct, group)
-- update(invite)          tells the devices new context or mediatypes (direct, group)
-- results(invite)         returns the items of the call record (direct, group)
-- report(invite)          the invite has changed in this commit (leg)
-- save(invite)            notes the writes of what it keeps beside its own fields (group)
--
-- Others are for the files of `group/` and timers.lua alone: those of a group are in group/groups.lua, those of a leg in
-- group/legs.lua.

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

local function is_leg(invite)
  return invite.kind == kinds.leg
end
