"""Each user of the server in deploy/ can do its work and nothing else: on real servers."""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.deploy import installations
from tests.support.commands import Commands
from tests.support.servers import binaries
from tests.support.servers.node import free_port

EVENTS, NOTIFICATIONS, DEAD, PUSH, RELAY = (
    f"invites:{{0}}:{stream}" for stream in ("events", "notifications", "dead", "push", "relay")
)
INVITE = "invites:{0}:invite:alice|i1|bob"


@pytest.fixture
def filled(installation: installations.Installation) -> Iterator[redis.Redis]:
    """An administrator of the server, which holds an event, a notification, a dead letter and an invite."""
    with redis.Redis.from_url(installation.admin_url, decode_responses=True) as client:
        client.flushall()
        client.execute_command("ACL LOG RESET")
        for stream, group in ((EVENTS, "workers"), (NOTIFICATIONS, "gateway-1")):
            client.xgroup_create(stream, group, id="0", mkstream=True)
        for stream in (EVENTS, NOTIFICATIONS, DEAD):
            client.xadd(stream, {"type": "joined", "payload": "{}"}, id="1-0")
        client.hset(INVITE, "state", "PENDING")
        client.set("someone-elses", "1")
        yield client


ALLOWED = {
    "publisher": [f"XADD {EVENTS} * type joined payload {{}}", "PING", "GET invites:{0}:layout"],
    "gateway": [
        f"XADD {EVENTS} * type joined payload {{}}",
        f"XGROUP CREATE {NOTIFICATIONS} gateway-2 0 MKSTREAM",
        f"XGROUP DESTROY {NOTIFICATIONS} gateway-2",
        f"XGROUP DELCONSUMER {NOTIFICATIONS} gateway-1 gone",
        f"XREADGROUP GROUP gateway-1 me COUNT 10 STREAMS {NOTIFICATIONS} >",
        f"XAUTOCLAIM {NOTIFICATIONS} gateway-1 me 3000 0",
        f"XCLAIM {NOTIFICATIONS} gateway-1 me 0 1-0",
        f"XPENDING {NOTIFICATIONS} gateway-1",
        f"XACK {NOTIFICATIONS} gateway-1 1-0",
        f"XREAD COUNT 10 STREAMS {NOTIFICATIONS} 0",
        f"XINFO GROUPS {NOTIFICATIONS}",
        "GET invites:{0}:layout",
    ],
    "operator": [
        f"HGETALL {INVITE}",
        "GET invites:{0}:grace:p1",
        "SMEMBERS invites:{0}:pending:bob",
        "SSCAN invites:{0}:pending:bob 0",
        "HSCAN invites:{0}:calls:alice 0",
        "LRANGE invites:{0}:story:alice|i1|bob 0 -1",
        "SCAN 0 MATCH invites:{0}:invite:*",
        "ZRANGE invites:{0}:timers 0 -1 WITHSCORES",
        f"PTTL {INVITE}",
        f"TYPE {INVITE}",
        f"XRANGE {EVENTS} - + COUNT 10",
        f"XREVRANGE {DEAD} + - COUNT 10",
        f"XREAD COUNT 10 STREAMS {NOTIFICATIONS} 0",
        f"XINFO STREAM {EVENTS}",
        f"XINFO GROUPS {EVENTS}",
        f"XINFO CONSUMERS {EVENTS} workers",
        f"XPENDING {EVENTS} workers",
        f"MEMORY USAGE {INVITE}",
        "INFO",
        "TIME",
        f"XADD {EVENTS} * type joined payload {{}}",
        f"XDEL {DEAD} 1-0",
        f"XGROUP DESTROY {NOTIFICATIONS} gateway-1",
        "ZADD invites:{0}:timers 1 ring|alice|i1|bob",
        f"XADD {PUSH} * type invitation ref alice|i1|bob",
        f"XADD {RELAY} * kind legs_start",
        f"XPENDING {PUSH} push",
        f"XINFO GROUPS {RELAY}",
    ],
    "resharder": [
        "SCAN 0 MATCH invites:{0}:*",
        f"DUMP {INVITE}",
        f"RESTORE {INVITE} 0 x REPLACE ABSTTL",
        f"UNLINK {INVITE}",
        f"DEL {EVENTS}",
        "ZREM invites:{0}:timers ring|alice|i1|bob",
        f"XADD {PUSH} * type invitation ref alice|i1|bob",
        f"XACK {PUSH} push 1-0",
        "SET invites:{0}:layout 1>3",
    ],
    "eraser": [
        "SCAN 0 MATCH invites:{0}:*",
        f"UNLINK {INVITE}",
        "ZREM invites:{0}:timers ring|alice|i1|bob",
        f"XDEL {NOTIFICATIONS} 1-0",
        f"XPENDING {NOTIFICATIONS} gateway-1",
    ],
    "worker": [
        f"XGROUP CREATE {EVENTS} other 0 MKSTREAM",
        f"XREADGROUP GROUP workers me COUNT 10 STREAMS {EVENTS} >",
        f"XAUTOCLAIM {EVENTS} workers me 3000 0 COUNT 100",
        f"XCLAIM {EVENTS} workers me 0 1-0 IDLE 3000 JUSTID",
        f"XPENDING {EVENTS} workers - + 10",
        f"XINFO GROUPS {EVENTS}",
        f"XINFO CONSUMERS {EVENTS} workers",
        f"XTRIM {EVENTS} MINID 1-0",
        *(
            command
            for stream, group in ((PUSH, "push"), (RELAY, "relay"))
            for command in (
                f"XGROUP CREATE {stream} {group} 0 MKSTREAM",
                f"XREADGROUP GROUP {group} me COUNT 10 STREAMS {stream} >",
                f"XAUTOCLAIM {stream} {group} me 3000 0 COUNT 100",
                f"XACK {stream} {group} 1-0",
                f"XTRIM {stream} MINID 1-0",
            )
        ),
        f"XLEN {DEAD}",
        f"DEL {DEAD}",
        "ZREM invites:{0}:timers ring|alice|i1|bob",
        f"HGETALL {INVITE}",
        "ZRANGE invites:{0}:timers 0 0 WITHSCORES",
        "INFO memory",
        "TIME",
        "CLIENT UNBLOCK 1",
        f'EVAL \'return redis.call("HGET", KEYS[1], "state")\' 1 {INVITE}',
        f"FCALL nothing 1 {INVITE}",
        "FUNCTION LIST LIBRARYNAME invites_*",
        "FUNCTION LOAD nothing",
        "FUNCTION DELETE nothing",
    ],
    "probe": [
        f"XADD {EVENTS} * type joined payload {{}}",
        f"XGROUP CREATE {NOTIFICATIONS} temporary:x $ MKSTREAM",
        f"XGROUP CREATECONSUMER {NOTIFICATIONS} temporary:x reader",
        f"XREADGROUP GROUP temporary:x reader COUNT 10 STREAMS {NOTIFICATIONS} >",
        f"XACK {NOTIFICATIONS} temporary:x 1-0",
        f"XINFO STREAM {NOTIFICATIONS}",
        f"XGROUP DESTROY {NOTIFICATIONS} temporary:x",
        "GET invites:{0}:layout",
    ],
    "admin": [
        "ACL LOG",
        "ACL USERS",
        "CLIENT LIST",
        "CLIENT KILL ID 1",
        "CONFIG GET maxmemory",
        "CONFIG SET slowlog-log-slower-than 10000",
        "INFO everything",
        "LATENCY LATEST",
        "LATENCY DOCTOR",
        "MEMORY DOCTOR",
        "MEMORY STATS",
        "SLOWLOG GET 10",
        "SLOWLOG RESET",
    ],
    "exporter": [
        "CLIENT SETNAME redis_exporter",
        "CLIENT LIST",
        "CLUSTER INFO",
        "INFO ALL",
        "LATENCY LATEST",
        "LATENCY HISTOGRAM",
        "SLOWLOG LEN",
        "SLOWLOG GET 1",
    ],
}

FORBIDDEN = {
    "publisher": [
        "XADD invites:{junk}:events * type joined payload {}",
        f"XRANGE {EVENTS} - +",
        f"XREAD STREAMS {EVENTS} 0",
        f"XLEN {EVENTS}",
        f"XDEL {EVENTS} 1-0",
        f"XTRIM {EVENTS} MAXLEN 0",
        f"XACK {EVENTS} workers 1-0",
        f"XGROUP DESTROY {EVENTS} workers",
        f"XADD {NOTIFICATIONS} * type invitation payload {{}}",
        f"XADD {DEAD} * type joined payload {{}}",
        f"XADD {PUSH} * type invitation ref alice|i1|bob",
        f"XADD {RELAY} * kind legs_start",
        f"HGETALL {INVITE}",
        f"DEL {INVITE}",
        "GET invites:{0}:grace:p1",
        "SET invites:{0}:layout 3",
        "EVAL 'return 1' 0",
        "INFO",
    ],
    "gateway": [
        "XADD invites:{junk}:events * type joined payload {}",
        "XREAD STREAMS invites:{junk}:notifications 0",
        f"XADD {NOTIFICATIONS} * type invitation payload {{}}",
        f"XDEL {NOTIFICATIONS} 1-0",
        f"XTRIM {NOTIFICATIONS} MAXLEN 0",
        f"DEL {NOTIFICATIONS}",
        f"XREADGROUP GROUP workers me STREAMS {EVENTS} >",
        f"XACK {EVENTS} workers 1-0",
        f"XGROUP CREATE {EVENTS} mine 0",
        f"XGROUP DESTROY {EVENTS} workers",
        f"XRANGE {EVENTS} - +",
        f"XRANGE {DEAD} - +",
        f"HGETALL {INVITE}",
        "SMEMBERS invites:{0}:pending:bob",
        "GET invites:{0}:grace:p1",
        "SET invites:{0}:layout 3",
        "EVAL 'return 1' 0",
    ],
    "operator": [
        f"HSET {INVITE} state ACCEPTED",
        f"DEL {INVITE}",
        "ZREM invites:{0}:timers member",
        f"XADD {NOTIFICATIONS} * type invitation payload {{}}",
        f"XGROUP CREATE {NOTIFICATIONS} mine 0",
        f"XREADGROUP GROUP gateway-1 me STREAMS {NOTIFICATIONS} >",
        f"XADD {DEAD} * type joined payload {{}}",
        f"XDEL {EVENTS} 1-0",
        f"XTRIM {EVENTS} MAXLEN 0",
        f"XACK {EVENTS} workers 1-0",
        f"XREADGROUP GROUP workers me STREAMS {EVENTS} >",
        f"XGROUP DESTROY {EVENTS} workers",
        f"XREADGROUP GROUP push me STREAMS {PUSH} >",
        f"XACK {RELAY} relay 1-0",
        f"XDEL {PUSH} 1-0",
        "KEYS *",
    ],
    "resharder": [
        f"XREADGROUP GROUP workers me STREAMS {EVENTS} >",
        f"XTRIM {EVENTS} MAXLEN 0",
        f"XGROUP DESTROY {EVENTS} workers",
        "EVAL 'return 1' 0",
        "DUMP someone-elses",
        "KEYS *",
        "INFO",
    ],
    "probe": [
        "XADD invites:{junk}:events * type joined payload {}",
        f"XADD {NOTIFICATIONS} * type invitation payload {{}}",
        f"XREADGROUP GROUP workers me STREAMS {EVENTS} >",
        f"XRANGE {NOTIFICATIONS} - +",
        f"XTRIM {NOTIFICATIONS} MAXLEN 0",
        f"HGETALL {INVITE}",
        "GET invites:{0}:grace:p1",
        "SET invites:{0}:layout 3",
        "EVAL 'return 1' 0",
    ],
    "eraser": [
        f"XADD {EVENTS} * type joined payload {{}}",
        f"XREADGROUP GROUP workers me STREAMS {EVENTS} >",
        f"XACK {EVENTS} workers 1-0",
        "UNLINK someone-elses",
        "EVAL 'return 1' 0",
        "KEYS *",
    ],
    "worker": ["KEYS *", "RANDOMKEY", "SCRIPT FLUSH", "PUBLISH channel message"],
    "admin": [
        f"HGETALL {INVITE}",
        f"XRANGE {EVENTS} - +",
        "SCAN 0",
        "EVAL 'return 1' 0",
        "ACL SAVE",
        "PSYNC ? -1",
    ],
    "exporter": [f"HGETALL {INVITE}", "SCAN 0", "EVAL 'return 1' 0", "ACL LOAD", "ACL LOG", "SLOWLOG RESET"],
}

# None of them may do these.
NEVER = [
    "FLUSHALL",
    "FLUSHDB",
    "ACL LIST",
    "ACL SETUSER publisher +@all",
    "SHUTDOWN",
    "REPLICAOF NO ONE",
    "GET someone-elses",
    "SET someone-elses 2",
    "XADD other:{0}:events * type joined payload {}",
    "CLIENT TRACKING ON BCAST",
    "CLIENT NO-EVICT ON",
    "SELECT 1",
    "RANDOMKEY",
    "MONITOR",
    "SUBSCRIBE __keyspace@0__:someone-elses",
]


# Only `admin` may do these (and `exporter` CLIENT LIST).
ADMINISTRATION = [
    "ACL LOAD",
    "CLIENT KILL ID 1",
    "CONFIG GET *",
    "CONFIG SET maxmemory 1",
    "DBSIZE",
]


def connect(installation: installations.Installation, user: str) -> redis.Redis:
    client = redis.Redis.from_url(installation.url(user))
    client.response_callbacks.clear()  # the commands here come as text, the answers stay as they are
    return client


def is_permitted(client: redis.Redis, command: str) -> bool:
    """Send the command for real: whether the server let it through, whatever it then answered."""
    try:
        client.execute_command(*shlex.split(command))
    except redis.exceptions.NoPermissionError:
        return False
    except redis.exceptions.ResponseError as error:
        return not str(error).startswith("NOPERM") and "No permission" not in str(error)
    return True


@pytest.mark.parametrize("user", installations.USERS)
@pytest.mark.usefixtures("filled")
def test_each_user_may_do_its_work(installation: installations.Installation, user: str) -> None:
    with connect(installation, user) as client:
        assert [command for command in ALLOWED[user] if not is_permitted(client, command)] == []


@pytest.mark.parametrize("user", installations.USERS)
def test_each_user_may_do_nothing_else(
    installation: installations.Installation, filled: redis.Redis, user: str
) -> None:
    with connect(installation, user) as client:
        forbidden = FORBIDDEN[user] + NEVER
        if user != "admin":
            forbidden += ADMINISTRATION + ["CLIENT LIST"] * (user != "exporter")
        assert [command for command in forbidden if is_permitted(client, command)] == []
    assert filled.get("someone-elses") == "1"


def test_a_password_changes_without_a_restart(installation: installations.Installation) -> None:
    """The administrator gives a user a second password, and the first one stays until all clients know the second."""
    users = installation.secrets.parent / "users.acl"
    before = users.read_text()
    first = installation.url("publisher")
    second = re.sub(":[^:@]+@", ":second@", first)
    line = next(line for line in before.splitlines() if line.startswith("user publisher "))
    both = line.replace("#", f"#{hashlib.sha256(b'second').hexdigest()} #", 1)
    with redis.Redis.from_url(installation.url("admin")) as admin:
        try:
            users.write_text(before.replace(line, both))
            assert admin.acl_load()
            for url in (first, second):
                with redis.Redis.from_url(url) as client:
                    assert client.ping()
        finally:
            users.write_text(before)
            assert admin.acl_load()
    with redis.Redis.from_url(second) as client, pytest.raises(redis.exceptions.AuthenticationError):
        client.ping()


def test_nobody_gets_in_without_a_name(installation: installations.Installation) -> None:
    nameless = installation.admin_url.replace("tester:tester@", "")
    for url in (
        nameless,
        nameless.replace("//", "//default:@"),
        nameless.replace("//", "//publisher:guess@"),
    ):
        with redis.Redis.from_url(url) as client, pytest.raises(redis.exceptions.AuthenticationError):
            client.ping()


def test_the_user_that_may_write_lets_nobody_in(
    installation: installations.Installation, filled: redis.Redis
) -> None:
    """The server loads its file with the rights of `default`, whose password is `requirepass`."""
    nameless = installation.admin_url.replace("tester:tester@", "")
    with redis.Redis.from_url(installation.url("admin")) as admin:
        try:
            for password in ("known", ""):
                admin.config_set("requirepass", password)
                for url in (nameless, nameless.replace("//", "//default:known@")):
                    with (
                        redis.Redis.from_url(url) as client,
                        pytest.raises(redis.exceptions.AuthenticationError),
                    ):
                        client.set("someone-elses", "2")
        finally:
            assert admin.acl_load()
    assert filled.get("someone-elses") == "1"


def test_server_keeps_calls(filled: redis.Redis) -> None:
    """Memory is never gained by deleting state, and answered writes survive the end of the server."""
    wanted = {"maxmemory-policy": "noeviction", "appendonly": "yes", "appendfsync": "everysec"}
    assert {name: filled.config_get(name)[name] for name in wanted} == wanted


@pytest.mark.parametrize("kind", binaries.KINDS)
def test_server_refuses_users_without_passwords(kind: str, tmp_path: Path) -> None:
    """The template's placeholders are no passwords, so nobody can use it unchanged."""
    template = installations.DEPLOY / "users.acl.template"
    with installations.start_server(kind, free_port(), template, tmp_path) as server:
        assert server.wait(10_000) == 1
        assert "password hash must be exactly 64 characters" in server.output()


def test_its_user_can_move_the_calls(
    installation: installations.Installation, filled: redis.Redis, capsys: pytest.CaptureFixture[str]
) -> None:
    """The whole command with the permissions of `resharder`, on some of everything that it moves."""
    filled.set("invites:{0}:layout", "1")
    for user in (f"user-{number}" for number in range(9)):
        ref = f"alice|1|{user}"
        filled.hset(f"invites:{{0}}:registry:{user}", "p", "{}")
        filled.sadd(f"invites:{{0}}:pending:{user}", ref)
        filled.zadd(f"invites:{{0}}:ended:{user}", {ref: 1})
        filled.zadd(f"invites:{{0}}:room-invites:{user}", {ref: 1})
        filled.set(f"invites:{{0}}:grace:{user}-p", user, ex=60)
        filled.set(f"invites:{{0}}:over:{ref}", "1-0", ex=60)
        filled.zadd("invites:{0}:timers", {f"ring|{ref}": 1, f"grace|{user}|p": 1})
        filled.xadd(PUSH, {"type": "invitation", "ref": ref})
    filled.xgroup_create(PUSH, "push", "0")
    filled.xreadgroup("push", "gone", {PUSH: ">"}, count=4)
    filled.hset("invites:{0}:trunks", "t", '{"user": "sip"}')
    filled.xgroup_create(RELAY, "relay", "0", mkstream=True)
    commands = Commands(capsys, installation.url("resharder"))
    for shards in ("3", "7"):
        ended = commands.on_server("reshard", shards)
        assert (ended.status, ended.err.count("does not allow")) == (0, 0), ended.err
    assert {filled.get(f"invites:{{{number}}}:layout") for number in range(7)} == {"7"}


def test_its_user_can_erase_a_user(
    installation: installations.Installation, filled: redis.Redis, capsys: pytest.CaptureFixture[str]
) -> None:
    """The whole command with the permissions of `eraser`, on some of everything that it erases."""
    base, ref = "invites:{0}:", "bob|1|carol"
    filled.hset(INVITE, "state", "DECLINED")
    filled.hset(f"{base}registry:bob", "p", "{}")
    filled.set(f"{base}user-state:carol", "1-0|0||bob|eve|")
    filled.set(f"{base}grace:p", "bob", ex=60)
    filled.hset(f"{base}history:carol", ref, "{}")
    filled.zadd(f"{base}calls-ended:carol", {ref: 1})
    filled.sadd(f"{base}pending:carol", ref)
    filled.zadd(f"{base}timers", {f"ring|{ref}": 1, "grace|bob|p": 1, "grace|eve|p": 1})
    filled.hset(f"{base}legs:x|1|team", "bob", "{}")
    filled.xadd(NOTIFICATIONS, {"type": "callMissed", "users": '["bob"]'}, id="2-0")
    filled.xadd(DEAD, {"type": "joined", "payload": '{"userId":"bob"}'}, id="2-0")
    commands = Commands(capsys, installation.url("eraser"))
    ended = commands.on_server("erase", "bob")
    assert (ended.status, ended.err) == (1, "")  # the gateway has not read the notification
    assert "stream notifications      1 left" in ended.out
    filled.xreadgroup("gateway-1", "me", {NOTIFICATIONS: ">"})
    filled.xack(NOTIFICATIONS, "gateway-1", "2-0")
    assert commands.on_server("erase", "bob").status == 0
    assert filled.zrange(f"{base}timers", 0, -1) == ["grace|eve|p"]
    assert filled.get(f"{base}user-state:carol") == "1-0|0||eve|"
    assert filled.exists(INVITE, f"{base}registry:bob", f"{base}pending:carol", f"{base}legs:x|1|team") == 0
    assert (filled.xlen(NOTIFICATIONS), filled.xlen(DEAD)) == (1, 1)
