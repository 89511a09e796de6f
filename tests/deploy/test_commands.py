"""Each user of the server in deploy/ against every command that the server has, compared with an explicit list.

ACL DRYRUN says what the server would answer, and nothing runs. A command that a later server adds is refused to
everybody, so a difference is always a change of `users.acl.template`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import pytest
import redis

from tests.deploy import installations

ALWAYS: Final = {"auth", "hello", "quit", "reset"}
"""The server checks no permissions for these: they belong to the time before the login."""

_LIST: Final = {
    "publisher": "ping client|setname xadd get",
    "gateway": """
        ping client|setname time xadd
        xread xreadgroup xack xautoclaim xclaim xpending xrange xrevrange xlen xinfo|consumers xinfo|groups
        xinfo|stream xgroup|create xgroup|createconsumer xgroup|delconsumer xgroup|destroy get
    """,
    "worker": """
        ping client|setname client|id client|unblock info time multi exec cluster|info cluster|slots
        copy del exists pexpireat scan type get mget set lrange
        hdel hexists hget hgetall hlen hmget hrandfield hscan hset hvals sadd scard srandmember srem sscan
        zadd zcount zrange zrangebyscore zrem zremrangebyscore zscan zscore
        xack xadd xautoclaim xclaim xgroup|create xgroup|delconsumer xinfo|consumers xinfo|groups xlen xpending xrange
        xreadgroup xrevrange xtrim
        eval evalsha fcall function|delete function|list function|load
    """,
    "operator": """
        ping client|setname info time watch unwatch multi exec cluster|info cluster|slots
        exists memory|usage pttl scan ttl type get hget hgetall hlen hscan lrange scard sismember smembers sscan
        zcard zcount zrange zscan zscore xinfo|consumers xinfo|groups xinfo|stream xlen xpending xrange xread xrevrange
        xadd xdel zadd xgroup|destroy
    """,
    "resharder": """
        ping client|setname time cluster|slots scan type exists del unlink dump restore pexpire pexpireat pexpiretime
        get set hget hgetall hset sadd smembers srem zadd zrange zrem zscan zscore
        xack xadd xdel xinfo|consumers xinfo|groups xpending xrange
    """,
    "probe": """
        ping client|setname time xadd
        xreadgroup xack xautoclaim xinfo|consumers xinfo|groups xinfo|stream
        xgroup|create xgroup|createconsumer xgroup|destroy get
    """,
    "eraser": """
        ping client|setname cluster|slots watch unwatch multi exec scan type unlink
        get set hdel hget hgetall hscan lrange smembers sscan srem zscan zrem xdel xinfo|groups xpending xrange
    """,
    "admin": """
        ping client|setname client|id client|info client|kill client|list info time role dbsize
        acl|dryrun acl|getuser acl|load acl|log acl|users acl|whoami config|get config|resetstat config|set
        latency|doctor latency|graph latency|histogram latency|history latency|latest latency|reset
        memory|doctor memory|malloc-stats memory|purge memory|stats slowlog|get slowlog|len slowlog|reset
    """,
    "exporter": """
        ping client|setname client|list info cluster|info latency|histogram latency|latest slowlog|get slowlog|len
    """,
}
GRANTED: Final = {user: set(commands.split()) for user, commands in _LIST.items()}
"""The commands of each user, on whatever keys. `client|setname` is a command with its subcommand."""


@pytest.fixture
def root(installation: installations.Installation) -> Iterator[redis.Redis]:
    """An administrator of the server, whose replies stay as they are."""
    with redis.Redis.from_url(installation.admin_url, decode_responses=True, protocol=2) as client:
        client.response_callbacks.clear()
        yield client


def commands_of(root: Any) -> dict[str, int]:
    """Every command of the server, subcommands separately -> the fewest words that it takes."""
    return {
        name: abs(arity) for row in root.execute_command("COMMAND") for name, arity, *_ in (row[9] or [row])
    }


def permission(root: redis.Redis, user: str, *command: str) -> str:
    """What the server would say: OK, or why the user may not do it."""
    return str(root.execute_command("ACL", "DRYRUN", user, *command))


def permitted(root: redis.Redis, user: str) -> set[str]:
    """The commands that the user may give on some key, if not on this one."""
    found = set()
    for name, words in commands_of(root).items():
        command = name.split("|")
        command += ["1"] * (words - len(command))
        if "has no permissions to run" not in permission(root, user, *command):
            found.add(name)
    return found


def test_the_list_names_each_user_of_the_template() -> None:
    assert set(GRANTED) == set(installations.USERS)


@pytest.mark.parametrize("user", GRANTED)
def test_a_user_may_give_the_commands_of_its_list_and_no_other(root: redis.Redis, user: str) -> None:
    assert permitted(root, user) == GRANTED[user] | ALWAYS


def test_the_default_user_may_write_what_the_append_only_file_holds_and_is_off(root: redis.Redis) -> None:
    """Redis 7.0 loads the file with its rights. Nobody can be this user."""
    written: Any = root.execute_command("ACL", "CAT", "write")
    assert permitted(root, "default") == {*written, "select"} | ALWAYS
    found: Any = root.execute_command("ACL", "GETUSER", "default")
    about = dict(zip(found[::2], found[1::2], strict=True))
    assert ("off" in about["flags"], "nopass" in about["flags"], about["passwords"]) == (True, False, [])


@pytest.mark.parametrize("user", installations.USERS)
def test_no_user_is_given_a_category(user: str) -> None:
    """A category grows with each version of the server."""
    words = (
        " ".join(installations.rules("users.acl.template", user)).replace("(", "").replace(")", "").split()
    )
    assert [word for word in words if word.startswith("+@")] == []
    assert [word for word in words if word.startswith("-")] == ["-@all"] * words.count("-@all")


STREAMS: Final[dict[str, list[tuple[str, ...]]]] = {
    "publisher": [("XADD", "events", "*", "type", "joined")],
    "gateway": [
        ("XADD", "events", "*", "type", "joined"),
        ("XACK", "notifications", "gateway-1", "1-0"),
        ("XRANGE", "notifications", "-", "+"),
    ],
    "probe": [
        ("XADD", "events", "*", "type", "joined"),
        ("XACK", "notifications", "temporary:x", "1-0"),
    ],
}


@pytest.mark.parametrize(
    ("user", "command"), [(user, command) for user, all_ in STREAMS.items() for command in all_]
)
def test_only_streams_of_shards_are_open_to_others(
    root: redis.Redis, user: str, command: tuple[str, ...]
) -> None:
    """With any other tag they could make as many streams as they like, which nobody reads or trims."""
    name, stream, *rest = command

    def may(key: str) -> bool:
        return permission(root, user, name, key, *rest) == "OK"

    for shard in ("0", "9", "10", "99", "100", "999", "1000", "1023"):
        assert may(f"invites:{{{shard}}}:{stream}"), shard
    for shard in ("", "junk", "x", "00", "01", "-1", "1a", "1030", "9999", "0}:x:{0", "0}:invite:a|b|c}"):
        assert not may(f"invites:{{{shard}}}:{stream}"), shard
    for key in (f"invites:0:{stream}", f"invites:{{0}}:{stream}x", f"invites:{{0}}:pending:x:{stream}"):
        assert not may(key), key


@pytest.mark.parametrize("user", ["gateway", "probe"])
def test_the_number_of_shards_is_all_that_a_reader_of_notifications_gets(
    root: redis.Redis, user: str
) -> None:
    assert permission(root, user, "GET", "invites:{0}:layout") == "OK"
    assert permission(root, user, "SET", "invites:{0}:layout", "2") != "OK"
    for key in ("invites:{0}:user-state:bob", "invites:{0}:x:layout", "invites:{0}:layouts", "layout"):
        assert permission(root, user, "GET", key) != "OK", key


def test_those_who_watch_the_server_see_no_keys(root: redis.Redis) -> None:
    for user in ("admin", "exporter"):
        (keys,) = (root.execute_command("ACL", "GETUSER", user)[9],)
        assert keys == "", user


def test_the_exporter_cannot_become_a_replica(root: redis.Redis) -> None:
    """CONFIG GET shows `masterauth`, with which anybody can copy the whole database."""
    assert "config|get" not in permitted(root, "exporter")
