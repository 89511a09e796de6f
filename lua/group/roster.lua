-- The legs of a group call as the group's shard knows them.
--
-- legs:<ref of the group's invite>, member -> JSON
--   at         the place of the leg in the order of the members
--   state      WAITING  it is not its turn yet
--              RINGING  its shard is told to start it
--              CLAIMED  a device of the member has accepted, and the group has decided for it
--              OVER     its shard says so, or its call is over
--   endReason  code of a leg that is CLAIMED or OVER; reason: with which it has ended itself; peer: the deciding one; context:
--              what that one tells the inviter; device: that has accepted
--   counted    what its shard has said last of its devices: the number of this report, how many can accept, ring, have a push.
--              Absent until the shard has said anything
--   push, peers, phone, failed: the result of the lookup (see reach/resolve.lua); trunk: its list of trunks
--
-- A call with more members than a page also has "|1", "|2", … -> the members of a page, in their order (JSON, a list).
-- So a commit reads one page alone. The writes of a unit are one HSET.
-- include: call/direct
-- include: call/kinds
-- include: core/story

local roster = {}
kinds.group.roster = roster

-- How many legs one commit starts, ends or updates. 20 legs with three devices each take about 3 ms.
local PAGE = 20

-- What this unit has read and changed of the call's legs: `legs`, member -> leg, false for one that is left out; `all`, in their
-- order, once all are read; `changed`, member -> leg.
local function known(call)
  call.roster = call.roster or { legs = {}, changed = {} }
  return call.roster
end

local function read(call, member, raw)
  local legs = known(call).legs
  if legs[member] == nil then
    local leg = raw and cjson.decode(raw)
    if leg then
      leg.member = member
      leg.state = leg.state == 'OPEN' and 'RINGING' or leg.state -- the word of an older release
    end
    legs[member] = leg or false
  end
  return legs[member] or nil
end

-- The member's leg, or nil. Each of many legs may send an answer, so it is read alone.
function roster.of(call, member)
  local name, raw = key('legs', call.ref), nil
  if known(call).legs[member] == nil then
    raw = redis.call('HGET', name, member)
    trust(name)
  end
  return read(call, member, raw)
end

-- All legs, in their order.
function roster.all(call)
  local found = known(call)
  if not found.all then
    local name = key('legs', call.ref)
    local flat = redis.call('HGETALL', name)
    trust(name)
    local by_place = {}
    for i = 1, #flat, 2 do
      local leg = string.byte(flat[i]) ~= 124 and read(call, flat[i], flat[i + 1]) -- (124 is "|".)
      if leg then
        by_place[leg.at] = leg
      end
    end
    found.all = {}
    for at = 1, tonumber(call.members or 0) do -- (A call that ends at once has none.)
      found.all[#found.all + 1] = by_place[at]
    end
  end
  return found.all
end

-- The page that the place `at` is on.
function roster.page_of(at)
  return math.ceil(at / PAGE)
end

-- The last place of a page.
function roster.last_of(call, page)
  return math.min(page * PAGE, tonumber(call.members))
end

-- The legs of a page, in their order.
function roster.page(call, page)
  local name, found = key('legs', call.ref), {}
  local members = not known(call).all and tonumber(call.members) > PAGE and redis.call('HGET', name, '|' .. int(page))
  if members then
    members = cjson.decode(members)
    local raw = redis.call('HMGET', name, unpack(members))
    trust(name)
    for i, member in ipairs(members) do
      found[#found + 1] = read(call, member, raw[i])
    end
    return found
  end
  -- All are known or one page, or an older release made the call.
  for _, leg in ipairs(roster.all(call)) do
    if leg.at > page * PAGE then
      break
    end
    found[#found + 1] = leg.at > (page - 1) * PAGE and leg or nil
  end
  return found
end

-- How many members have had their turn, in their order.
function roster.called(call)
  if not call.called then -- an older release made the call
    local last = 0
    for _, leg in ipairs(roster.all(call)) do
      last = leg.state ~= 'WAITING' and leg.at or last
    end
    return last
  end
  return tonumber(call.called)
end

-- The leg whose turn it is, or nil.
function roster.current(call)
  local at = roster.called(call)
  for _, leg in ipairs(at > 0 and roster.page(call, roster.page_of(at)) or {}) do
    if leg.at == at then
      return leg
    end
  end
end

-- Notes that the leg has changed.
function roster.touch(call, leg)
  if known(call).legs[leg.member] then
    call.roster.changed[leg.member] = leg
    work.changed[call.ref] = call
  end
end

function roster.set_state(call, leg, state, code)
  leg.state, leg.endReason = state, code or leg.endReason
  story.tell_leg(call, leg)
  roster.touch(call, leg)
end

-- The member is not called.
function roster.leave_out(call, leg)
  known(call).legs[leg.member], call.roster.changed[leg.member] = false, nil
  for at, each in ipairs(call.roster.all or {}) do
    if each == leg then
      table.remove(call.roster.all, at)
      break
    end
  end
  later({ 'HDEL', key('legs', call.ref), leg.member })
end

-- Notes fields and values as few HSETs.
local function write(name, pairs_of)
  for first = 1, #pairs_of, 1000 do
    add('hash', { 'HSET', name, unpack(pairs_of, first, math.min(first + 999, #pairs_of)) })
  end
end

-- Makes the legs of a new call. `members` are the members to call (see reach/resolve.lua).
function roster.make(call, members)
  local found, all, page, pages_of = known(call), {}, {}, {}
  for at, member in ipairs(members) do
    local leg = {
      member = member.user, state = 'WAITING', at = at, push = member.push, peers = member.peers, trunk = member.trunks,
      phone = member.phone, failed = member.failed,
    }
    found.legs[leg.member], found.changed[leg.member], all[at] = leg, leg, leg
    page[#page + 1] = leg.member
    if #page == PAGE or at == #members then
      pages_of[#pages_of + 1], pages_of[#pages_of + 2] = '|' .. int(roster.page_of(at)), json.strings(page)
      page = {}
    end
  end
  found.all = all
  change(call, 'members', int(#all))
  if #all > PAGE then
    write(key('legs', call.ref), pages_of)
  end
end

function roster.json(leg)
  return '{"state":"' .. leg.state .. '","at":' .. int(leg.at)
    .. (leg.endReason and ',"endReason":' .. int(leg.endReason) or '')
    .. (leg.reason and ',"reason":"' .. leg.reason .. '"' or '')
    .. (leg.counted and ',"counted":"' .. leg.counted .. '"' or '')
    .. (leg.peer and ',"peer":' .. json.quote(leg.peer) or '')
    .. (leg.device and ',"device":' .. json.quote(leg.device) or '')
    .. (leg.context and ',"context":' .. json.quote(leg.context) or '')
    .. (leg.push and ',"push":' .. json.strings(leg.push) or '')
    .. (leg.peers and ',"peers":' .. json.strings(leg.peers) or '')
    .. (leg.trunk and ',"trunk":' .. json.quote(leg.trunk) or '')
    .. (leg.phone and ',"phone":true' or '')
    .. (leg.failed and ',"failed":true' or '') .. '}'
end

function kinds.group.save(call)
  local name, fields = key('legs', call.ref), {}
  for member, leg in pairs(known(call).changed) do
    fields[#fields + 1], fields[#fields + 2] = member, roster.json(leg)
  end
  write(name, fields)
  if call.live_until and call.members then
    expire(name, call.live_until)
  end
end
