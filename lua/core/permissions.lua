-- Whether the server's ACL lets this user write, and what happens when the ACL stops allowing it in the middle of an
-- event.
--
-- The server asks the ACL for each command of a script as the script runs it. A command that it denies after the token
-- would leave an event half written. So the commit asks before its first token for all commands that write. The answer
-- costs as much as a small command, so it holds for a second. When the ACL changes within that second, the rest of the
-- notes is kept in the key `owed`. Every call fails until they are written, so nobody builds on half an event. For that
-- the commit needs SET, so each call asks for SET: the ACL cannot change while the call runs.
-- (Redis 7.0 is the first that can be asked.)
-- exports: permissions
-- include: core/context

permissions = {}

-- What rules note, and the tokens.
local WRITES = {
  'COPY', 'DEL', 'HDEL', 'HSET', 'PEXPIREAT', 'SADD', 'SET', 'SREM', 'XACK', 'XADD', 'ZADD', 'ZREM', 'ZREMRANGEBYSCORE',
}

local HOLDS = 1000
local asked_at = 0 -- ms since 1970; survives the call
local owing -- what this call owes so far
local OWED

each_shard(function()
  OWED = base .. 'owed'
end)

each_call(function()
  owing = nil
end)

function permissions.is_denied(command, name)
  return redis.acl_check_cmd and not redis.acl_check_cmd(command, name)
end

-- All of them; nil when the server cannot say.
function permissions.denied_writes()
  if not redis.acl_check_cmd then
    return nil
  end
  local denied = {}
  for i = 1, #WRITES do
    if permissions.is_denied(WRITES[i], EVENTS) then
      denied[#denied + 1] = WRITES[i]
    end
  end
  return denied
end

-- Fails the call.
function permissions.refuse(commands)
  asked_at = 0
  error({ err = 'DENIED ' .. commands, refused = true }, 0)
end

function permissions.ask()
  if math.abs(now - asked_at) < HOLDS then
    if permissions.is_denied('SET', OWED) then
      permissions.refuse('SET')
    end
    return
  end
  local denied = permissions.denied_writes()
  if denied and #denied > 0 then
    permissions.refuse(table.concat(denied, ','))
  end
  asked_at = now
end

-- The answer of a command that comes before any note is written. When the ACL has denied it, fails the call.
function permissions.unless_denied(answer, command, name)
  if type(answer) == 'table' and answer.err then
    if permissions.is_denied(command, name) then
      permissions.refuse(command)
    end
    error(answer, 0)
  end
  return answer
end

-- Keeps the notes from `first` to `last`, of which the first was denied.
function permissions.owe(notes, first, last)
  owing = owing or {}
  for i = first, last do
    local note = {}
    for at, word in ipairs(notes[i]) do
      note[at] = type(word) == 'number' and string.format('%.17g', word) or word
    end
    owing[#owing + 1] = note
  end
  redis.call('SET', OWED, cjson.encode(owing))
end

-- Writes what is owed, once everything is allowed again.
function permissions.pay()
  asked_at = 0
  permissions.ask()
  local rest = redis.pcall('GET', OWED)
  if type(rest) == 'table' then -- a release before 0.2.0 had only HSET
    rest = redis.call('HGET', OWED, 'notes')
  end
  for _, note in ipairs(cjson.decode(rest)) do
    redis.pcall(unpack(note))
  end
  redis.call('DEL', OWED)
end
