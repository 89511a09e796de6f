"""Which of a worker's commands the ACL denies to this Redis user.

The check queues the commands in a transaction and discards it: the server checks the permission when it queues a
command, and discarded commands change nothing. The server also reports here that it accepts no writes (memory full,
read-only replica, failed snapshot).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from redis.exceptions import NoPermissionError, ResponseError

from invites.keys import Stream

if TYPE_CHECKING:
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
HMGET {key} state
HGETALL {key}
HVALS {key}
HDEL {key} state
SADD {other} check
SREM {other} check
SMEMBERS {other}
ZADD {timers} 0 check
ZREM {timers} check
ZSCORE {timers} check
ZRANGE {timers} 0 0
ZRANGEBYSCORE {timers} -inf +inf
ZREMRANGEBYSCORE {timers} -inf -inf
GET {key}
MGET {key} {other}
SET {key} check PX 1
DEL {key}
EXISTS {key}
PEXPIREAT {key} 1
TYPE {key}
TIME
PING
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


def needed(keys: Keys) -> list[list[str]]:
    """The commands, with the keys of a shard."""
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
    to_read = [
        [word.format(stream=source.key(keys), group=source.group) for word in line.split()]
        for source in Stream
        for line in _NEEDED_TO_READ
    ]
    return [[word.format_map(names) for word in line.split()] for line in _NEEDED] + to_read


async def refused(client: Redis, keys: Keys) -> tuple[list[str], list[str]]:
    """The denied commands, and the other errors that the server returned, each once."""
    forbidden: list[str] = []
    complaints: list[str] = []
    connection = await client.connection_pool.get_connection()
    try:
        for command in (["MULTI"], *needed(keys)):
            await connection.send_command(*command)
            try:
                await connection.read_response()
            except NoPermissionError:
                name = f"{command[0]} on {command[1]}" if command[0] == "XADD" else command[0]
                if name not in forbidden:
                    forbidden.append(name)
                if command[0] == "MULTI":
                    # Without a transaction the server would execute every command.
                    return forbidden, complaints
            except ResponseError as error:
                if str(error) not in complaints:
                    complaints.append(str(error))
    finally:
        # Disconnecting discards the transaction.
        await connection.disconnect()
        await client.connection_pool.release(connection)
    return forbidden, complaints
