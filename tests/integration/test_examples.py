"""The commands that README.md and the contract show do what they are shown to do."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.support.commands import Commands
from tests.support.waiting import wait_until_sync
from tests.support.worker import KEYS
from workers.lab.worker_process import start_worker

_ROOT = Path(__file__).resolve().parents[2]


def _shown(page: str, command: str) -> list[list[str]]:
    lines = (_ROOT / page).read_text("utf-8").replace("\\\n", "").splitlines()
    return [shlex.split(line) for line in lines if line.startswith(command)]


@pytest.fixture
def working(database: redis.Redis, commands: Commands) -> Iterator[redis.Redis]:
    """The server, with a worker process on it."""
    with start_worker(commands.url, {}):
        wait_until_sync(lambda: bool(database.exists(KEYS.events)), "the worker has made its groups")
        yield database


def _told(server: redis.Redis, count: int) -> list[tuple[str, list[str], dict[str, Any]]]:
    """The first `count` notifications, and no more: type, peers, payload."""
    wait_until_sync(lambda: server.xlen(KEYS.notifications) >= count, f"{count} notifications are out")
    entries: Any = server.xrange(KEYS.notifications)
    assert len(entries) == count
    return [
        (fields[b"type"].decode(), json.loads(fields[b"peers"]), json.loads(fields[b"payload"]))
        for _, fields in entries
    ]


def test_the_start_in_a_minute(working: redis.Redis, commands: Commands) -> None:
    published = _shown("README.md", "invites publish")
    assert [words[2] for words in published] == ["registered", "invite", "accept"]
    for words in published:
        assert commands.on_server(*words[1:]).status == 0
    assert [kind for kind, _, _ in _told(working, 5)] == [
        "invitation", "inviteProgress", "inviteAccepted", "INVITE_COMPLETED", "answer",
    ]  # fmt: skip
    (by_hand,) = _shown("README.md", "redis-cli")
    assert by_hand[1:3] == ["-u", "$INVITES_REDIS_URL"]
    working.execute_command(*by_hand[3:])
    kind, peers, payload = _told(working, 7)[5]
    assert (kind, peers, payload["inviteId"]) == ("invitation", ["p-phone"], "i2")


def test_the_call_from_end_to_end(working: redis.Redis) -> None:
    lines = re.findall(r"^XADD (\S+) \* type (\w+) payload (\{.*\})$", _page(), re.MULTILINE)
    assert [kind for _, kind, _ in lines] == ["registered", "registered", "invite", "accept"]
    for stream, kind, payload in lines:
        working.execute_command("XADD", stream, "*", "type", kind, "payload", payload)
    told = _told(working, 6)
    by_kind = {kind: (peers, payload) for kind, peers, payload in told}
    assert set(by_kind["invitation"][0]) == {"p-phone", "p-tablet"}
    peers, progress = by_kind["inviteProgress"]
    assert (peers, progress["code"], progress["candidates"]) == (["p-alice"], 100, 2)
    peers, cancel = by_kind["invitationCancel"]
    assert (peers, cancel["code"], cancel["reason"]) == (["p-tablet"], 200, "accepted_elsewhere")
    assert by_kind["inviteAccepted"][1]["peer"] == "p-phone"
    assert by_kind["INVITE_COMPLETED"][1]["error"] == 200
    peers, answer = by_kind["answer"]
    assert (peers, answer["code"]) == (["p-phone"], 200)


def _page() -> str:
    return (_ROOT / "invites/PROTOCOL.md").read_text("utf-8")
