"""`invites check`: one line for each thing that a worker needs, with what to do."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from invites.keys import WORKERS_GROUP, Keys
from tests.support.commands import Commands, Ended
from workers.cli.check.server import _version
from workers.cli.session import trouble

KEYS = Keys()


def _lines(ended: Ended) -> dict[str, tuple[str, str]]:
    """Name of the check -> verdict and text."""
    assert ended.err == ""
    found = {line[6:20].strip(): (line[:4].strip(), line[20:]) for line in ended.out.splitlines()}
    assert len(found) == len(ended.out.splitlines())
    return found


@pytest.fixture
def settings(database: redis.Redis) -> Iterator[redis.Redis]:
    """A server whose settings a test may change."""
    names = "maxmemory", "maxmemory-policy", "appendonly"
    before = {name: str(database.config_get(name)[name]) for name in names}
    yield database
    database.replicaof("NO", "ONE")
    for name, value in before.items():
        database.config_set(name, value)


def test_a_fresh_server_will_do_and_nothing_is_left_behind(commands: Commands, database: redis.Redis) -> None:
    ended = commands.on_server("check")
    assert ended.status == 0
    found = _lines(ended)
    assert list(found) == [
        "redis",
        "version",
        "memory policy",
        "memory",
        "persistence",
        "clocks",
        "permissions",
        "workers",
        "gateways",
        "sippo-server",
    ]
    for name in ("redis", "version", "memory policy", "permissions"):
        assert found[name][0] == "ok", found[name]
    assert found["persistence"][0] == "warn"
    assert "appendonly yes" in found["persistence"][1]
    assert found["workers"] == (
        "warn",
        "No worker has connected yet (no consumer group): start `invites run`.",
    )
    assert found["sippo-server"][0] == "-"
    assert database.keys() == []


def test_it_touches_nothing_that_is_there(commands: Commands, database: redis.Redis) -> None:
    database.xgroup_create(KEYS.events, WORKERS_GROUP, "0", mkstream=True)
    for _ in range(3):
        database.xadd(KEYS.events, {"type": "x"})
    before = database.dump(KEYS.events)
    commands.on_server("check")
    assert database.dump(KEYS.events) == before
    assert database.keys() == [KEYS.events.encode()]


def test_workers_that_read_are_seen(commands: Commands, database: redis.Redis) -> None:
    database.xgroup_create(KEYS.events, WORKERS_GROUP, "0", mkstream=True)
    assert _lines(commands.on_server("check"))["workers"][0] == "warn"
    database.xadd(KEYS.events, {"type": "x"})
    ended = commands.on_server("check")
    assert ended.status == 1
    assert _lines(ended)["workers"] == (
        "FAIL",
        "No worker is connected, and 1 events wait: start `invites run`, or read its log.",
    )
    database.xreadgroup(WORKERS_GROUP, "worker-1", {KEYS.events: ">"})
    ended = commands.on_server("check")
    assert ended.status == 0
    assert _lines(ended)["workers"] == ("ok", "1 connected, 1 events not settled yet.")


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
def test_eviction_fails(commands: Commands, settings: redis.Redis, policy: str) -> None:
    settings.config_set("maxmemory-policy", policy)
    ended = commands.on_server("check")
    assert ended.status == 1
    verdict, text = _lines(ended)["memory policy"]
    assert verdict == "FAIL"
    assert text.startswith(policy)
    assert "maxmemory-policy noeviction" in text


def test_who_may_bring_no_functions_is_warned(commands: Commands, database: redis.Redis) -> None:
    rules = ["+@all", "-fcall", "-function"]
    database.execute_command("ACL", "SETUSER", "worker", "reset", "on", "nopass", "~*", *rules)
    ended = commands.run("check", "--redis-url", commands.url.replace("redis://", "redis://worker:x@"))
    database.execute_command("ACL", "DELUSER", "worker")
    verdict, text = _lines(ended)["permissions"]
    assert (ended.status, verdict) == (0, "warn")
    assert text.startswith("Not allowed: FCALL, FUNCTION. Commits run as scripts")


def test_a_full_server_fails(commands: Commands, settings: redis.Redis) -> None:
    settings.config_set("maxmemory", "1")
    ended = commands.on_server("check")
    assert ended.status == 1
    found = _lines(ended)
    assert found["memory policy"] == ("ok", "noeviction.")
    assert found["permissions"][0] == "ok"
    assert found["memory"][0] == "FAIL"
    assert "of 0.0 MiB in use" in found["memory"][1]
    assert "raise maxmemory, or find out what uses it" in found["memory"][1]


def test_a_server_that_is_nearly_full_is_warned_of(commands: Commands, settings: Any) -> None:
    used = settings.info("memory")["used_memory"]
    settings.config_set("maxmemory", int(used * 1.05))
    ended = commands.on_server("check")
    assert (ended.status, _lines(ended)["memory"][0]) == (0, "warn")


def test_a_full_server_fails_without_info_too(commands: Commands, settings: redis.Redis) -> None:
    settings.execute_command("ACL", "SETUSER", "worker", "reset", "on", "nopass", "~*", "+@all", "-info")
    settings.config_set("maxmemory", "1")
    ended = commands.run("check", "--redis-url", commands.url.replace("redis://", "redis://worker:x@"))
    settings.execute_command("ACL", "DELUSER", "worker")
    assert (ended.status, _lines(ended)["permissions"][0]) == (1, "ok")
    assert _lines(ended)["memory"][0] == "FAIL"


def test_a_replica_fails(commands: Commands, settings: redis.Redis) -> None:
    settings.replicaof("127.0.0.1", "1")
    ended = commands.on_server("check")
    assert ended.status == 1
    assert "read only replica" in _lines(ended)["permissions"][1]
    said = "The server is a replica: name its primary in redis.url, or its sentinels or cluster."
    assert _lines(ended)["role"] == ("FAIL", said)


def test_what_a_server_cannot_do_is_said_with_the_way_out(commands: Commands, settings: redis.Redis) -> None:
    publish = ("publish", "roomClosed", '{"roomId":"r1"}')
    settings.config_set("maxmemory", "1")
    assert (
        "is full (command not allowed when used memory > 'maxmemory'): raise maxmemory"
        in commands.on_server(*publish).err
    )
    settings.config_set("maxmemory", "0")
    settings.replicaof("127.0.0.1", "1")
    assert "is a replica, which takes no events: name its primary" in commands.on_server(*publish).err
    settings.replicaof("NO", "ONE")
    url = commands.url.replace("redis://", "redis+cluster://").removesuffix("/0")
    ended = commands.run(*publish, "--redis-url", url)
    assert (ended.status, ended.err.count("\n")) == (1, 1)
    assert "is no cluster: use `redis://` in redis.url" in ended.err


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (redis.ResponseError("MISCONF Errors writing to the AOF file: No space left on device"), "make room"),
        (redis.ConnectionError("max number of clients reached"), "raise maxclients"),
        (redis.BusyLoadingError("Redis is loading the dataset in memory"), "is still loading its data"),
    ],
)
def test_what_a_server_answers_for_a_while_is_said_with_the_way_out(error: Exception, said: str) -> None:
    assert said in trouble("redis://h", error)


def test_a_gateway_says_why_its_server_cannot_be_used(
    commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INVITES_GATEWAY_SECRET", "x" * 32)
    ended = commands.run("gateway", "--redis-url", f"{commands.url.removesuffix('/0')}/99")
    assert (ended.status, ended.err.count("\n")) == (1, 1)
    assert "returns an error: DB index is out of range." in ended.err


def test_persistence_is_seen(commands: Commands, settings: redis.Redis) -> None:
    settings.config_set("appendonly", "yes")
    assert _lines(commands.on_server("check"))["persistence"] == ("ok", "Append-only file.")


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        (["+@all", "-xadd"], "XADD on invites:{0}:events, XADD on invites:{0}:notifications"),
        (["+@all", "-evalsha", "-zadd"], "Not allowed: ZADD, EVALSHA. Allow"),
        (["+@all", "-multi"], "Not allowed: MULTI. Allow"),
        (["+@read", "+@connection", "+@transaction", "+info"], "XREADGROUP"),
        (["+@all", "resetkeys", "~invites:{0}:events"], "XADD on invites:{0}:dead"),
    ],
)
def test_what_is_not_allowed_fails(
    commands: Commands, database: redis.Redis, rules: list[str], said: str
) -> None:
    database.execute_command("ACL", "SETUSER", "worker", "reset", "on", "nopass", "~*", *rules)
    url = commands.url.replace("redis://", "redis://worker:x@")
    ended = commands.run("check", "--redis-url", url)
    database.execute_command("ACL", "DELUSER", "worker")
    assert ended.status == 1
    verdict, text = _lines(ended)["permissions"]
    assert verdict == "FAIL"
    assert said in text
    assert database.keys() == []


OF_A_ROLE = {
    "publisher": (["redis", "permissions"], ["+xadd"]),
    "gateway": (
        ["redis", "permissions"],
        [
            *("+xadd", "+xgroup|create", "+xgroup|createconsumer", "+xgroup|destroy", "+xreadgroup", "+xack"),
            *(
                "+xautoclaim",
                "+xread",
                "+xrevrange",
                "+xinfo|stream",
                "+xinfo|groups",
                "+xinfo|consumers",
                "+time",
            ),
        ],
    ),
    "operator": (
        [
            "redis",
            "version",
            "memory policy",
            "memory",
            "persistence",
            "clocks",
            "permissions",
            "workers",
            "gateways",
        ],
        ["+@read", "+time", "+watch", "+multi", "+exec", "+unwatch", "+xadd", "+xdel", "+zadd", "+xgroup"],
    ),
}


@pytest.mark.parametrize("role", OF_A_ROLE)
def test_a_role_is_checked_and_nothing_is_changed(
    commands: Commands, database: redis.Redis, role: str
) -> None:
    lines, rules = OF_A_ROLE[role]
    always = ("+ping", "+client|setname", "+info", "+get")
    url = commands.url.replace("redis://", "redis://other:x@")
    for stream in (KEYS.events, KEYS.notifications):
        database.xadd(stream, {"type": "x"})
    before = {key: database.dump(key) for key in database.scan_iter()}
    database.execute_command(
        "ACL", "SETUSER", "other", "reset", "on", "nopass", "~invites:*", *always, *rules
    )
    complete = commands.run("check", "--role", role, "--redis-url", url)
    missing = {}
    for rule in rules:
        database.execute_command("ACL", "SETUSER", "other", f"-{rule[1:]}")
        missing[rule] = commands.run("check", "--role", role, "--redis-url", url)
        database.execute_command("ACL", "SETUSER", "other", rule)
    database.execute_command("ACL", "DELUSER", "other")
    assert list(_lines(complete)) == lines
    article = "an" if role == "operator" else "a"
    assert _lines(complete)["permissions"] == (
        "ok",
        f"All of {article} {role}'s commands on invites:{{0}}:* are allowed.",
    )
    for rule, ended in missing.items():
        assert ended.status == 1, rule
        verdict, text = _lines(ended)["permissions"]
        assert (verdict, text.startswith("Not allowed: ")) == ("FAIL", True), rule
        assert f"the {role}'s user" in text
    assert {key: database.dump(key) for key in database.scan_iter()} == before


@pytest.mark.parametrize("role", OF_A_ROLE)
def test_a_full_server_fails_for_each_role(commands: Commands, settings: redis.Redis, role: str) -> None:
    settings.config_set("maxmemory", "1")
    ended = commands.on_server("check", "--role", role)
    assert (ended.status, _lines(ended)["permissions"][0]) == (1, "ok")
    assert _lines(ended)["memory"][0] == "FAIL"
    assert "maxmemory" in _lines(ended)["memory"][1]


def test_an_unknown_role_is_wrong_use(commands: Commands) -> None:
    assert commands.on_server("check", "--role", "admin").status == 2


def test_a_wrong_number_of_shards_is_told(commands: Commands, database: redis.Redis) -> None:
    database.set("invites:{0}:layout", "3")
    ended = commands.on_server("check")
    assert (ended.status, _lines(ended)["shards"][0]) == (1, "FAIL")
    assert "set redis.shards to 3" in _lines(ended)["shards"][1]


def test_what_a_shard_lacks_names_the_shard(
    commands: Commands, database: redis.Redis, tmp_path: Path
) -> None:
    database.xgroup_create("invites:{1}:notifications", "gateway-1", mkstream=True)
    file = tmp_path / "config.json"
    file.write_text('{"redis": {"shards": 2}}')
    ended = commands.on_server("check", "--config", str(file))
    for shard in (0, 1):
        assert f"workers       Shard {shard}: No worker has connected yet" in ended.out
    assert "gateways      Shard 0: No gateway reads the notifications" in ended.out
    assert "gateways      Shard 1: gateway-1: " in ended.out


def test_a_wrong_number_of_shards_of_a_gateway_is_told(commands: Commands, database: redis.Redis) -> None:
    database.set("invites:{0}:layout", "3")
    ended = commands.on_server("check", "--role", "gateway")
    assert (ended.status, _lines(ended)["shards"][0]) == (1, "FAIL")
    assert "set redis.shards to 3" in _lines(ended)["shards"][1]
    database.execute_command("ACL", "SETUSER", "gateway", "reset", "on", "nopass", "~*", "+@all", "-get")
    ended = commands.run(
        *("check", "--role", "gateway", "--redis-url", commands.url.replace("redis://", "redis://gateway:x@"))
    )
    database.execute_command("ACL", "DELUSER", "gateway")
    assert (ended.status, _lines(ended)["shards"][0]) == (0, "warn")


def test_more_shards_of_a_publisher_than_the_workers_have_are_told(
    commands: Commands, database: redis.Redis, tmp_path: Path
) -> None:
    """Its events would be refused. Fewer do no harm."""
    file = tmp_path / "config.json"
    file.write_text('{"redis": {"shards": 3}}')
    asked = ("check", "--role", "publisher", "--config", str(file))
    for layout in ("7", "2>3"):
        database.set("invites:{0}:layout", layout)
        assert commands.on_server(*asked).status == 0
    database.set("invites:{0}:layout", "2")
    ended = commands.on_server(*asked)
    assert ended.status == 1
    assert "FAIL  shards        The calls in Redis are in 2 shards, but redis.shards is 3" in ended.out


def test_without_info_the_rest_is_checked(commands: Commands, database: redis.Redis) -> None:
    database.execute_command("ACL", "SETUSER", "worker", "reset", "on", "nopass", "~*", "+@all", "-info")
    ended = commands.run("check", "--redis-url", commands.url.replace("redis://", "redis://worker:x@"))
    database.execute_command("ACL", "DELUSER", "worker")
    assert ended.status == 0
    found = _lines(ended)
    assert found["version"] == ("warn", "Not checked: this user may not run INFO.")
    assert found["permissions"][0] == "ok"


def test_redis_will_do(commands: Commands, redis_server: str) -> None:
    with redis.Redis.from_url(redis_server) as database:
        database.flushall()
        ended = commands.run("check", "--redis-url", redis_server)
        assert ended.status == 0
        assert _lines(ended)["version"][1].startswith("Redis ")
        assert _lines(ended)["permissions"][0] == "ok"
        assert database.keys() == []


@pytest.mark.parametrize(
    ("info", "verdict"),
    [
        ({"redis_version": "6.2.14"}, "FAIL"),
        ({"redis_version": "7.0.0"}, "ok"),
        ({"redis_version": "8.2.3"}, "ok"),
        ({"redis_version": "10.0"}, "ok"),
        ({"redis_version": "7.2.4", "valkey_version": "7.2.11"}, "ok"),
        ({"redis_version": "7.2.4", "valkey_version": "9.1.2"}, "ok"),
        ({"redis_version": "7.0", "valkey_version": "7.1.0"}, "FAIL"),
        ({"redis_version": "unstable"}, "FAIL"),
        ({}, "FAIL"),
    ],
)
def test_versions(info: dict[str, str], verdict: str) -> None:
    assert _version(info).verdict == verdict


# sippo-server


class Api(http.server.BaseHTTPRequestHandler):
    """A fake login of sippo-server."""

    status = 200
    answer: bytes = b'{"token":"t","expiresIn":3600}'
    asked: list[tuple[str, Any]] = []  # noqa: RUF012 - shared by the handlers of one test

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.asked.append((self.path, json.loads(body)))
        self.send_response(self.status)
        if self.status == 302:
            self.send_header("Location", "/elsewhere")
        self.end_headers()
        self.wfile.write(self.answer)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as the base class has it
        """Stay silent."""


@pytest.fixture
def api() -> Iterator[tuple[str, type[Api]]]:
    """A started fake login: its address, and its answer."""

    class Own(Api):
        asked: list[tuple[str, Any]] = []  # noqa: RUF012 - as above

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Own) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", Own
        server.shutdown()
        thread.join()


@pytest.fixture
def check_api(commands: Commands, database: redis.Redis, tmp_path: Path) -> Any:
    """Check with a configuration of `invites.basic`: status, verdict and text."""
    del database

    def check(**basic: object) -> tuple[int, str, str]:
        file = tmp_path / "config.json"
        file.write_text(json.dumps({"invites": {"basic": basic}}), "utf-8")
        file.chmod(0o600)
        ended = commands.on_server("check", "--config", str(file))
        assert "geheim" not in ended.out
        return ended.status, *_lines(ended)["sippo-server"]

    return check


def _wac(address: str) -> dict[str, str]:
    return {"address": address, "username": "admin@quobis", "password": "geheim"}


@pytest.mark.parametrize(
    "flag", [{"resolveGroups": True}, {"resolvePush": True}, {"legacyUserGroupResolution": False}]
)
def test_a_login_that_works(api: tuple[str, type[Api]], check_api: Any, flag: dict[str, bool]) -> None:
    address, server = api
    status, verdict, text = check_api(**flag, wac=_wac(f"{address}/"))
    assert (status, verdict) == (0, "ok")
    assert text == f"{address}/sapi/login accepts the credentials."
    assert server.asked == [("/sapi/login", {"username": "admin@quobis", "password": "geheim"})]


def test_a_login_elsewhere(api: tuple[str, type[Api]], check_api: Any) -> None:
    address, server = api
    wac = {**_wac(address), "paths": {"login": "/auth/login?realm=x"}}
    status, verdict, text = check_api(resolvePush=True, wac=wac)
    assert (status, verdict) == (0, "ok")
    assert text == f"{address}/auth/login?realm=x accepts the credentials."
    assert [path for path, _ in server.asked] == ["/auth/login?realm=x"]


def test_a_login_that_nothing_needs_is_tried_and_is_a_warning_at_most(
    api: tuple[str, type[Api]], check_api: Any
) -> None:
    address, server = api
    assert check_api(wac=_wac(address))[:2] == (0, "ok")
    assert len(server.asked) == 1
    server.status = 401
    status, verdict, text = check_api(wac=_wac(address))
    assert (status, verdict) == (0, "warn")
    assert "refuses the credentials" in text
    assert text.endswith("No setting needs it.")


def test_an_address_without_credentials_is_tried_without_them(
    api: tuple[str, type[Api]], check_api: Any
) -> None:
    address, server = api
    status, verdict, text = check_api(wac={"address": address})
    assert (status, verdict) == (0, "ok")
    assert text.startswith(f"{address}/sapi/login answers. Without wac.username")
    assert server.asked == []
    assert check_api(wac={"address": "http://127.0.0.1:1"})[:2] == (0, "warn")


@pytest.mark.parametrize(
    ("status", "answer", "said"),
    [
        (401, b"geheim", "refuses the credentials"),
        (403, b"", "refuses the credentials"),
        (404, b"", "answers with status 404, not 200: check invites.basic.wac.address"),
        (500, b"", "answers with status 500"),
        (302, b"", "answers with status 302"),
        (200, b"<html>", "returns no token"),
        (200, b"[]", "returns no token"),
        (200, b'{"token":""}', "returns no token"),
        (200, b"\xff", "returns no token"),
    ],
)
def test_a_login_that_fails(
    api: tuple[str, type[Api]], check_api: Any, status: int, answer: bytes, said: str
) -> None:
    address, server = api
    server.status, server.answer = status, answer
    ended, verdict, text = check_api(resolvePush=True, wac=_wac(address))
    assert (ended, verdict) == (1, "FAIL")
    assert said in text
    assert len(server.asked) == 1, "credentials follow no redirect"


def test_a_sippo_server_that_is_away(check_api: Any) -> None:
    for address, said in (
        ("http://127.0.0.1:1", "Connection refused"),
        ("https://127.0.0.1:1", "Connection refused"),
        ("http://no-such-host.invalid", ""),
    ):
        status, verdict, text = check_api(resolvePush=True, wac=_wac(address))
        assert (status, verdict) == (1, "FAIL")
        assert f"{address}/sapi/login cannot be reached ({said}" in text
        assert "ssl:" not in text


def test_what_the_login_lacks_is_named(check_api: Any) -> None:
    status, verdict, text = check_api(resolvePush=True, resolveGroups=True, wac={"username": "x"})
    assert (status, verdict) == (1, "FAIL")
    assert "invites.basic.resolveGroups and invites.basic.resolvePush" in text
    assert "invites.basic.wac.address, invites.basic.wac.password is missing" in text
