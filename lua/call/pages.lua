-- Work on every member of an index: at once if they are few, otherwise one page in each commit.
--
-- An index may hold thousands of refs, and a script that reads all of them blocks the server. So the first commit
-- copies a large index, and relays to this shard work on pages of the copy. The pages do not see what joins the index
-- later.
--
-- pages.kind(name, members, argument…) does the work of one page of the index of `name`. Its arguments are strings. It
-- returns true when the other pages need not be done, or the list of their arguments when these have changed.
-- `work.page` is nil when this is the commit that begins the work. Later, when the state may have changed, it is "more"
-- or "last".
--
-- todo:<name>|<kind>|<origin>     the copy of an index of invites in this shard
-- todo-of:<name>|<kind>|<origin>  the copy of an index in the shard of `name`: of a user's calls, of a room
-- exports: pages, every, every_of
-- include: core/emit

pages = {}

-- The type of each index; where its copy belongs when the number of shards changes; the size of its pages. 10 invites
-- with 100 devices each take some 3 ms, and 100 members of a room, each of whom may be in a call, four commands each.
local INDEXES = {
  pending = { type = 'set', place = 'todo', page = 10 },
  parallel = { type = 'set', place = 'todo', page = 10 },
  ended = { type = 'zset', place = 'todo', page = 10 },
  calls = { type = 'hash', place = 'todo-of', page = 10 },
  missed = { type = 'hash', place = 'todo-of', page = 10 },
  chosen = { type = 'set', place = 'todo-of', page = 10 },
  ['room-invites'] = { type = 'zset', place = 'todo-of', page = 10 },
  ['room-members'] = { type = 'hash', place = 'todo-of', page = 100 },
}
local READ = {
  set = function(name, count) return redis.call('SRANDMEMBER', name, count) end,
  zset = function(name, count) return redis.call('ZRANGE', name, 0, count - 1) end,
  -- (fakeredis answers nil for a hash that does not exist.)
  hash = function(name, count) return redis.call('HRANDFIELD', name, count) or {} end,
}
local REMOVE = { set = 'SREM', zset = 'ZREM', hash = 'HDEL' }

local function some_of(index, name, count)
  local some = READ[INDEXES[index].type](name, count)
  trust(name)
  return some
end

local function copy_of(index, name, kind, origin)
  return key(INDEXES[index].place, name .. '|' .. kind .. '|' .. origin)
end

-- `todo` has the copies of invites in this shard, whatever the shard of `name`.
local function next_page(index, name, ...)
  relay('page', name, { index, ... }, INDEXES[index].place == 'todo' and own or nil)
end

-- Works on all members of the index of `name`. Returns what the page returns when it is the only one.
function every(index, name, kind, ...)
  local source, size = key(index, name), INDEXES[index].page
  local members = some_of(index, source, size + 1)
  if #members <= size then
    return pages[kind](name, members, ...)
  end
  local copy = copy_of(index, name, kind, work.origin)
  later({ 'COPY', source, copy, 'REPLACE' })
  expire(copy, lifetimes.copy())
  next_page(index, name, kind, work.origin, ...)
end

-- The same for members that a rule has chosen from an index in the shard of `name`.
function every_of(members, name, kind, ...)
  if #members <= INDEXES.chosen.page then
    return pages[kind](name, members, ...)
  end
  local copy = copy_of('chosen', name, kind, work.origin)
  for first = 1, #members, 1000 do
    add('set', { 'SADD', copy, unpack(members, first, math.min(first + 999, #members)) })
  end
  expire(copy, lifetimes.copy())
  next_page('chosen', name, kind, work.origin, ...)
end

function internal.page(name, index, kind, origin, ...)
  local copy, size = copy_of(index, name, kind, origin), INDEXES[index].page
  local members = some_of(index, copy, size + 1)
  work.page = #members > size and 'more' or 'last'
  members[size + 1] = nil
  local result = pages[kind](name, members, ...)
  if result == true or work.page == 'last' then
    later({ 'DEL', copy })
    return
  end
  later({ REMOVE[INDEXES[index].type], copy, unpack(members) })
  next_page(index, name, kind, origin, unpack(result or { ... }))
end
