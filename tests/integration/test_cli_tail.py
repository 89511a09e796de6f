"""`invites tail`: notifications as they come, until a signal."""

from __future__ import annotations

import json
import signal

import redis

from tests.support.commands import Commands, Running
from tests.support.seeds import HEAD, KEYS, notify
from tests.support.waiting import wait_until_sync


class Tail(Running):
    """`invites tail`."""

    def __init__(self, url: str, *arguments: str) -> None:
        super().__init__("tail", "--redis-url", url, *arguments)

    def wait_for_lines(self, count: int) -> None:
        wait_until_sync(lambda: len(self.lines) >= count, f"{count} lines were printed")


def _is_reading(database: redis.Redis) -> bool:
    return any(client["cmd"] == "xread" for client in database.client_list())


def test_tail_prints_notifications_as_they_come(commands: Commands, database: redis.Redis) -> None:
    notify(database, "invitation", ["b0"], **HEAD)
    with Tail(commands.url) as tail:
        wait_until_sync(lambda: _is_reading(database), "the tail reads")
        notify(database, "invitation", ["b1", "b2"], **HEAD, room="r1", expiresIn=60000, resumed=False)
        notify(database, "INVITE_COMPLETED", [], **HEAD, state="ACCEPTED", error=200, candidates=[])
        notify(database, "x\x1b[2J", [], **HEAD)
        tail.wait_for_lines(3)
        assert (tail.end(signal.SIGINT), tail.log) == (0, [])
    assert "invitation" in tail.lines[0]
    assert "alice → bob (i1)  room=r1 expiresIn=60000  to b1, b2" in tail.lines[0]
    assert "INVITE_COMPLETED  alice → bob (i1)  state=ACCEPTED error=200" in tail.lines[1]
    assert all(line.isprintable() for line in tail.lines), "no colours where there is no terminal"
    assert len(tail.lines) == 3, "what was there before is not printed"


def test_tail_for_programs_begins_with_the_last(commands: Commands, database: redis.Redis) -> None:
    entries = [notify(database, "invitation", ["b1"], **HEAD, room=f"r{number}\u2028") for number in range(3)]
    with Tail(commands.url, "--json", "--last", "2") as tail:
        tail.wait_for_lines(2)
        wait_until_sync(lambda: _is_reading(database), "the tail reads")
        database.xadd(KEYS.notifications, {"type": "bare"})
        tail.wait_for_lines(3)
        assert (tail.end(signal.SIGTERM), tail.log) == (0, [])
    found = [json.loads(line) for line in tail.lines]
    assert found[0] == {
        "entry": entries[1],
        "id": "0-5-0-1",
        "type": "invitation",
        "peers": ["b1"],
        "users": ["bob"],
        "payload": {**HEAD, "room": "r1\u2028"},
    }
    assert found[1]["entry"] == entries[2]
    assert (found[2]["type"], found[2]["payload"]) == ("bare", None)


def test_tail_misses_nothing_under_load(commands: Commands, database: redis.Redis) -> None:
    with Tail(commands.url, "--json") as tail:
        wait_until_sync(lambda: _is_reading(database), "the tail reads")
        entries = [notify(database, "invitation", ["b1"], **HEAD) for _ in range(2000)]
        tail.wait_for_lines(2000)
        assert tail.end(signal.SIGINT) == 0
    assert [json.loads(line)["entry"] for line in tail.lines] == entries


def test_tail_ends_with_a_sentence_when_the_server_is_lost(commands: Commands, database: redis.Redis) -> None:
    with Tail(commands.url) as tail:
        wait_until_sync(lambda: _is_reading(database), "the tail reads")
        (reader,) = (client for client in database.client_list() if client["cmd"] == "xread")
        database.client_kill_filter(_id=reader["id"])
        assert tail.wait() == 1
    (sentence,) = tail.log
    assert sentence.startswith(f"invites: Redis at {commands.url} does not answer")
