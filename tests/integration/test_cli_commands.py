"""`invites publish`, `status` and `dead` on a real server."""

from __future__ import annotations

import io
import json
import time
from datetime import datetime
from pathlib import Path

import pytest
import redis

from invites.keys import WORKERS_GROUP
from tests.support.commands import Commands
from tests.support.seeds import KEYS, dead_letter, event


def test_publish_puts_the_event_into_the_stream_and_says_where(
    commands: Commands, database: redis.Redis
) -> None:
    payload = (
        '{"peer":{"id":"a1","user":"alice"}, "to":"bob","inviteId":"i1","room":"r1","context":{"ü":1.0}}'
    )
    ended = commands.on_server("publish", "invite", payload)
    assert ended.status == 0
    assert database.xrange(KEYS.events) == [
        (ended.out.strip().encode(), {b"type": b"invite", b"payload": payload.encode()})
    ]


def test_publish_takes_the_payload_from_stdin(
    commands: Commands, database: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b'{"roomId":"r1"}\n')))
    assert commands.on_server("publish", "roomClosed", "-").status == 0
    assert database.xlen(KEYS.events) == 1


def test_a_bad_event_is_not_published(commands: Commands, database: redis.Redis) -> None:
    assert commands.on_server("publish", "roomClosed", '{"roomId":"a|b"}').status == 2
    assert database.exists(KEYS.events) == 0


def test_status_for_people(commands: Commands, database: redis.Redis) -> None:
    assert "none yet" in commands.on_server("status").out
    database.xgroup_create(KEYS.events, WORKERS_GROUP, "0", mkstream=True)
    event(database, "roomClosed", {"roomId": "r1"}, at=int(time.time() * 1000) - 90_000)
    event(database, "roomClosed", {"roomId": "r2"})
    database.xreadgroup(WORKERS_GROUP, "worker-1", {KEYS.events: ">"}, count=1)
    database.zadd(KEYS.timers, {"ring|alice|i1|bob": 5})
    database.xadd(KEYS.relay, {"kind": "legs_start"}, id="99999999999999-0")
    dead_letter(database)
    lines = commands.on_server("status").out.splitlines()
    assert lines[0] == "shard 0"
    assert "2 events (1 unread, 1 delivered), the oldest for 9" in lines[1]
    assert lines[2] == "  pushes           0 jobs (0 unread, 0 delivered)"
    assert lines[3] == "  relay            1 entries (1 unread, 0 delivered), the oldest for 0 ms"
    assert lines[4].split() == ["pending", "invites", "1"]
    assert lines[5].split() == ["timers", "1", "(1", "overdue)"]
    assert lines[6].split() == ["streams", "2", "events,", "0", "notifications"]
    assert lines[7].startswith("  dead letters     1 (see: invites dead list)")
    assert lines[8].split() == ["workers", "1"]
    assert lines[9].startswith("    worker-1  1 pending, asked ")
    assert lines[9].endswith(" ago, announces nothing")


def test_status_shows_what_a_worker_announces(commands: Commands, database: redis.Redis) -> None:
    database.xgroup_create(KEYS.events, WORKERS_GROUP, "0", mkstream=True)
    database.xgroup_createconsumer(KEYS.events, WORKERS_GROUP, "worker-1")
    now = int(time.time())
    committed = datetime.fromtimestamp(now).astimezone().isoformat()
    times: list[str | int] = ["since", 5, "lastCommit", now * 1000, "at", now * 1000]
    database.hset(KEYS.worker("worker-1"), items=["release", "0.2.0", "shards", 1, *times])
    database.expire(KEYS.worker("worker-1"), 60)
    line = commands.on_server("status").out.splitlines()[9]
    assert line.startswith("    worker-1  0 pending, heard of ")
    assert ", release 0.2.0, since 19" in line
    assert line.endswith(f", last commit {committed}")


def test_status_for_monitoring(commands: Commands, database: redis.Redis) -> None:
    def checked() -> tuple[int, str]:
        assert commands.on_server("status").status == 0
        ended = commands.on_server("status", "--exit-code")
        assert ended.out.count("\n") == 1
        return ended.status, ended.out.rstrip("\n")

    assert checked() == (2, "CRITICAL: shard 0: no worker is there")
    database.xgroup_create(KEYS.events, WORKERS_GROUP, "0", mkstream=True)
    database.xgroup_create(KEYS.notifications, "gateway", "0", mkstream=True)
    database.xreadgroup(WORKERS_GROUP, "worker-1", {KEYS.events: ">"})
    assert checked() == (0, "OK: shards 1, workers 1, oldest event 0 ms")
    late = int(time.time() * 1000) - 90_000
    event(database, "roomClosed", {"roomId": "r1"}, at=late)
    status, line = checked()
    assert (status, line[:-5]) == (2, "CRITICAL: shard 0: an event has waited for")
    database.xadd(KEYS.notifications, {"type": "x"}, id=f"{late}-*")
    assert "; shard 0: a notification for gateway has waited for 9" in checked()[1]
    database.xtrim(KEYS.events, maxlen=0, approximate=False)
    assert checked()[0] == 1, "an old notification"
    database.xtrim(KEYS.notifications, maxlen=0, approximate=False)
    letter = dead_letter(database)
    assert checked()[0] == 1
    assert checked()[1].startswith("WARNING: shard 0: dead letters: 1, the last one ")
    database.xdel(KEYS.dead, letter)
    assert checked()[0] == 0
    database.config_set("maxmemory", 1)
    try:
        assert checked() == (2, "CRITICAL: shard 0: the server is full, new calls wait")
        assert "% of maxmemory: FULL, new calls wait" in commands.on_server("status").out
    finally:
        database.config_set("maxmemory", 0)


def test_a_shard_that_cannot_be_reached_is_critical_and_hides_no_other(
    commands: Commands, database: redis.Redis, tmp_path: Path
) -> None:
    file = tmp_path / "config.json"
    file.write_text('{"redis": {"shards": 3}}', "utf-8")
    database.set("invites:{1}:timers", "no sorted set")
    ended = commands.on_server("status", "--exit-code", "--json", "--config", str(file))
    found = json.loads(ended.out)
    assert (ended.status, found["status"], [one["shard"] for one in found["shards"]]) == (2, 2, [0, 2])
    assert [one["problem"] for one in found["problems"] if one["shard"] != 1] == ["no worker is there"] * 2
    line = commands.on_server("status", "--exit-code", "--config", str(file)).out
    assert "shard 0, 2: no worker is there" in line
    assert "shard 1: Redis at " in line


def test_a_server_that_is_away_is_critical(commands: Commands) -> None:
    ended = commands.run("status", "--exit-code", "--redis-url", "redis://127.0.0.1:1")
    assert ended.status == 2
    assert ended.out.startswith("CRITICAL: shard 0: Redis at redis://127.0.0.1:1/0 does not answer (")


def test_status_for_programs(commands: Commands, database: redis.Redis) -> None:
    event(database, "roomClosed", {"roomId": "r1"})
    (shard,) = json.loads(commands.on_server("status", "--json").out)["shards"]
    assert shard["shard"] == 0
    assert shard["backlog"]["entries"] == 1
    assert shard["consumers"] is None


def test_dead_letters_are_listed_and_shown(commands: Commands, database: redis.Redis) -> None:
    assert commands.on_server("dead", "list").out == ""
    first, second = (
        dead_letter(database),
        dead_letter(database, type="accept", payload='{"x":1}', error="field from is missing"),
    )
    lines = commands.on_server("dead", "list").out.splitlines()
    assert [line.split()[:2] for line in lines] == [[first, "invit"], [second, "accept"]]
    assert lines[1].endswith("field from is missing")
    objects = [json.loads(line) for line in commands.on_server("dead", "list", "--json").out.splitlines()]
    assert [one["id"] for one in objects] == [first, second]
    shown = commands.on_server("dead", "show", second).out
    assert 'payload     {"x":1}\n' in shown
    assert "error       field from is missing\n" in shown
    assert json.loads(commands.on_server("dead", "show", second, "--json").out)["payload"] == '{"x":1}'


def test_a_letter_that_was_cut_is_shown_and_not_retried(commands: Commands, database: redis.Redis) -> None:
    fields = {"field:paylod": "x" * 4096, "cut:paylod": "5000 bytes, SHA-256 ab", "field:traceparent": "00-x"}
    letter = dead_letter(database, **fields)
    shown = commands.on_server("dead", "show", letter).out
    assert f"fields      paylod: {'x' * 4096}\nfields      traceparent: 00-x\n" in shown
    assert "cut         paylod: 5000 bytes, SHA-256 ab\n" in shown
    found = json.loads(commands.on_server("dead", "show", letter, "--json").out)
    assert found["fields"] == {"paylod": "x" * 4096, "traceparent": "00-x"}
    assert found["cut"] == {"paylod": "5000 bytes, SHA-256 ab"}
    ended = commands.on_server("dead", "retry", letter)
    assert (ended.status, ended.out) == (1, "")
    assert ended.err.startswith(
        f"invites: {letter} keeps only the first 4096 bytes of paylod: publish the event again"
    )
    assert (database.xlen(KEYS.dead), database.xlen(KEYS.events)) == (1, 0)


def test_a_dead_letter_is_retried_once(commands: Commands, database: redis.Redis) -> None:
    first, second = dead_letter(database), dead_letter(database, type="timer", entry="", payload="ring|a|b|c")
    ended = commands.on_server("dead", "retry", first)
    assert ended.status == 0
    entry = ended.out.removeprefix(f"{first} -> ").strip()
    assert database.xrange(KEYS.events) == [(entry.encode(), {b"type": b"invit", b"payload": b"{}"})]
    again = commands.on_server("dead", "retry", first)
    assert (again.status, again.err) == (1, f"invites: There is no dead letter {first}.\n")
    assert commands.on_server("dead", "retry", second).out == f"{second} -> now\n"
    assert database.zscore(KEYS.timers, "ring|a|b|c")
    assert (database.xlen(KEYS.dead), database.xlen(KEYS.events)) == (0, 1)


def test_all_dead_letters_are_retried_but_those_that_cannot(
    commands: Commands, database: redis.Redis
) -> None:
    for number in range(5):
        dead_letter(database, payload=str(number))
    empty = dead_letter(database, payload="")
    ended = commands.on_server("dead", "retry", "--all")
    assert ended.status == 1
    assert ended.err == f"invites: {empty} has no payload to publish again: drop it.\n"
    assert len(ended.out.splitlines()) == database.xlen(KEYS.events) == 5
    assert database.xlen(KEYS.dead) == 1


def test_dead_letters_are_dropped(commands: Commands, database: redis.Redis) -> None:
    first, second = dead_letter(database), dead_letter(database)
    assert commands.on_server("dead", "drop", first).out == f"{first} dropped\n"
    assert commands.on_server("dead", "drop", first).status == 1
    assert commands.on_server("dead", "drop", "--all").out == f"{second} dropped\n"
    assert commands.on_server("dead", "drop", "--all").status == 0
    assert (database.xlen(KEYS.dead), database.exists(KEYS.events)) == (0, 0)
