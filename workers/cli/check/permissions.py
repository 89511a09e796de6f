"""Which of a role's commands the ACL denies to this Redis user.

For a worker and an operator, the check queues the commands in a transaction and discards it: the server checks the
permission when it queues a command, and discarded commands change nothing. What cannot be queued comes before it.
Publishers and gateways need no transactions, so theirs are sent, in a form that the server permits and then refuses,
or that only reads. The server also reports here that it accepts no writes (memory full, read-only replica, failed
snapshot).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct
from redis.exceptions import ExecAbortError, NoPermissionError, OutOfMemoryError, ReadOnlyError, ResponseError

from invites.keys import Stream
from workers.cli.check.role import Role

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redis.asyncio import Redis

    from invites.keys import Keys


# One command of each kind that the scripts and the worker send. {key}: an invite, {other}: another key of the shard.
_NEEDED: Final = """
XADD {events} * type check
XADD {notifications} * type check
XADD {push} * type check
XADD {relay} * type check
XADD {dead} * type check
HSET {key} state check
HGET {key} state
HEXISTS {key} state
HLEN {key}
HRANDFIELD {key} 1
HSCAN {key} 0
HMGET {key} state
HGETALL {key}
HVALS {key}
HDEL {key} state
SADD {other} check
SREM {other} check
SCARD {other}
SRANDMEMBER {other} 1
SSCAN {other} 0
LRANGE {other} -64 -1
SCAN 0
ZADD {timers} 0 check
ZREM {timers} check
ZSCORE {timers} check
ZSCAN {timers} 0
ZRANGE {timers} 0 0
ZRANGEBYSCORE {timers} -inf +inf
ZREMRANGEBYSCORE {timers} -inf -inf
ZCOUNT {timers} -inf +inf
XREVRANGE {dead} + - COUNT 1
GET {key}
MGET {key} {other}
SET {key} check PX 1
COPY {key} {other}
DEL {key}
EXISTS {key}
PEXPIREAT {key} 1
TYPE {key}
TIME
PING
CLIENT ID
CLIENT UNBLOCK 0
EVAL return{{}} 1 {key}
EVALSHA 0000000000000000000000000000000000000000 1 {key}
FCALL invites 1 {key}
FUNCTION LOAD check
FUNCTION LIST
FUNCTION DELETE check
""".strip().splitlines()

FUNCTIONS: Final = frozenset({"FCALL", "FUNCTION"})
"""Commands that a worker can do without."""

# The commands for each stream that workers read.
_NEEDED_TO_READ: Final = """
XREADGROUP GROUP {group} check COUNT 1 STREAMS {stream} >
XACK {stream} {group} 0-1
XAUTOCLAIM {stream} {group} check 1000 0 COUNT 1
XCLAIM {stream} {group} check 1000 0-1 JUSTID
XPENDING {stream} {group}
XGROUP CREATE {stream} {group} 0 MKSTREAM
XGROUP DELCONSUMER {stream} {group} check
XINFO GROUPS {stream}
XINFO CONSUMERS {stream} {group}
XRANGE {stream} - + COUNT 1
XLEN {stream}
XTRIM {stream} MINID 0
""".strip().splitlines()

# What the commands for operators send.
_NEEDED_TO_OPERATE: Final = """
PING
TIME
GET {key}
HGET {key} story
HGETALL {key}
HSCAN {key} 0
LRANGE {other} -64 -1
SCAN 0
SMEMBERS {other}
SSCAN {other} 0
ZRANGE {timers} 0 0
ZCOUNT {timers} -inf +inf
ZSCAN {timers} 0
ZSCORE {timers} check
XLEN {events}
XRANGE {events} - + COUNT 1
XREVRANGE {events} + - COUNT 1
XREAD COUNT 1 STREAMS {notifications} $
XINFO GROUPS {events}
XINFO CONSUMERS {events} workers
XPENDING {events} workers
XGROUP DESTROY {notifications} check
XADD {events} * type check
XADD {push} * type check
XADD {relay} * type check
XDEL {dead} 0-1
ZADD {timers} 0 check
UNWATCH
""".strip().splitlines()

# These are sent for real. No entry can have the id 0-0, "check" is no id, and no group has this name.
_NEEDED_TO_PUBLISH: Final = """
PING
XADD {events} 0-0 type check
""".strip().splitlines()

# What `invites gateway` and the clients for Python and Node send.
_NEEDED_TO_DELIVER: Final = """
TIME
XINFO STREAM {notifications}
XINFO GROUPS {notifications}
XINFO CONSUMERS {notifications} invites-check
XGROUP CREATE {notifications} invites-check check
XGROUP CREATECONSUMER {notifications} invites-check check
XGROUP DESTROY {notifications} invites-check
XREADGROUP GROUP invites-check check COUNT 1 STREAMS {notifications} >
XAUTOCLAIM {notifications} invites-check check 1000 0 COUNT 1
XACK {notifications} invites-check 0-1
XREAD COUNT 1 STREAMS {notifications} $
XREVRANGE {notifications} + - COUNT 1
""".strip().splitlines()

_LINES: Final = {
    Role.WORKER: _NEEDED,
    Role.PUBLISHER: _NEEDED_TO_PUBLISH,
    Role.GATEWAY: _NEEDED_TO_PUBLISH + _NEEDED_TO_DELIVER,
    Role.OPERATOR: _NEEDED_TO_OPERATE,
}

# Without a transaction, EXEC executes nothing.
_BEFORE: Final = {
    Role.WORKER: ["EXEC", "MULTI"],
    Role.PUBLISHER: [],
    Role.GATEWAY: [],
    Role.OPERATOR: ["WATCH {timers}", "EXEC", "MULTI"],
}

_REFUSES_WRITES: Final = ("MISCONF", "NOREPLICAS")


def needed(keys: Keys, role: Role = Role.WORKER) -> list[list[str]]:
    """The commands of a role, with the keys of a shard."""
    return _named(_LINES[role], keys) + (_to_read(keys) if role is Role.WORKER else [])


def _named(lines: Sequence[str], keys: Keys) -> list[list[str]]:
    names = {
        "events": keys.events,
        "notifications": keys.notifications,
        "push": keys.push,
        "relay": keys.relay,
        "dead": keys.dead,
        "timers": keys.timers,
        "key": keys.invite("check"),
        "other": keys.pending("check"),
    }
    return [[word.format_map(names) for word in line.split()] for line in lines]


def _to_read(keys: Keys) -> list[list[str]]:
    return [
        [word.format(stream=source.key(keys), group=source.group) for word in line.split()]
        for source in Stream
        for line in _NEEDED_TO_READ
    ]


class Refused(Struct):
    """What a server refuses: denied commands, other errors, each once, and whether it is out of memory."""

    forbidden: list[str] = []
    complaints: list[str] = []
    full: bool = False


async def refused(client: Redis, keys: Keys, role: Role = Role.WORKER) -> Refused:
    """Try all commands of a role. Raises redis exceptions when the server is unreachable."""
    found = Refused()
    in_transaction = False
    connection = await client.connection_pool.get_connection()
    try:
        for command in (*_named(_BEFORE[role], keys), *needed(keys, role)):
            await connection.send_command(*command)
            try:
                await connection.read_response()
            except (NoPermissionError, ExecAbortError):  # the denial of an EXEC
                name = _name(command)
                if name not in found.forbidden:
                    found.forbidden.append(name)
                if command[0] == "MULTI":
                    # Without a transaction the server would execute every command.
                    return found
            except OutOfMemoryError:
                found.full = True  # it comes after the check of the permission
            except ResponseError as error:
                if (in_transaction or _refuses_writes(error)) and str(error) not in found.complaints:
                    found.complaints.append(str(error))
            else:
                in_transaction |= command[0] == "MULTI"
    finally:
        # Disconnecting discards the transaction.
        await connection.disconnect()
        await client.connection_pool.release(connection)
    return found


def _name(command: list[str]) -> str:
    if command[0] in {"XADD", "XDEL"}:
        return f"{command[0]} on {command[1]}"
    if command[:2] == ["XGROUP", "DESTROY"]:
        return f"XGROUP DESTROY on {command[2]}"
    return " ".join(command[:2]) if command[0] in {"XGROUP", "XINFO"} else command[0]


def _refuses_writes(error: ResponseError) -> bool:
    return isinstance(error, ReadOnlyError) or str(error).startswith(_REFUSES_WRITES)
