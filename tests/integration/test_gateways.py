"""The groups of the gateways: how far behind they are, as operators see it, and how a group is dropped."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from invites.queries import gateways
from tests.support.commands import Commands
from tests.support.seeds import KEYS, notify
from tests.unit.test_gateways import EVIL

STREAM = KEYS.notifications
OTHER = "invites:{1}:notifications"
HOUR_MS = 3_600_000


def _add(database: Any, count: int, at: int | str = "*") -> None:
    for _ in range(count):
        database.xadd(STREAM, {"type": "x"}, id="*" if at == "*" else f"{at}-*")


def _read(database: Any, group: str, count: int, *, acknowledge: int = 0) -> None:
    ((_, entries),) = database.xreadgroup(group, "g", {STREAM: ">"}, count=count)
    for entry, _ in entries[:acknowledge]:
        database.xack(STREAM, group, entry)


def _listed(commands: Commands) -> dict[str, tuple[int, int]]:
    ended = commands.on_server("gateways", "list", "--json")
    assert (ended.status, ended.err) == (0, "")
    (shard,) = json.loads(ended.out)["shards"]
    return {one["name"]: (one["lag"], one["pending"]) for one in shard["groups"]}


@pytest.fixture
def groups(database: Any) -> Any:
    """A server with 5 notifications, read by three groups."""
    _add(database, 2, int(time.time() * 1000) - HOUR_MS)
    _add(database, 3)
    for name in ("dead", "stuck", "alive"):
        database.xgroup_create(STREAM, name, "0")
    _read(database, "stuck", 4, acknowledge=1)
    _read(database, "alive", 5, acknowledge=5)
    return database


@pytest.mark.usefixtures("groups")
def test_each_group_is_listed_with_lag_pending_and_age(commands: Commands) -> None:
    assert _listed(commands) == {"alive": (0, 0), "dead": (5, 0), "stuck": (1, 3)}
    shard, alive, dead, stuck = commands.on_server("gateways", "list").out.splitlines()
    assert shard == "shard 0"
    assert alive.startswith("  alive  0 unread, 0 pending, asked ")
    assert dead.startswith("  dead   5 unread, 0 pending, the oldest for 36")
    assert dead.endswith(", has no reader")
    assert stuck.startswith("  stuck  1 unread, 3 pending, the oldest for 36")
    assert stuck.endswith(" ago")
    shown = commands.on_server("status").out
    assert "  gateways         3\n    alive  0 unread, 0 pending, asked " in shown
    assert "    dead   5 unread, 0 pending, the oldest for 36" in shown


@pytest.mark.usefixtures("groups")
def test_check_warns_of_each_group_that_is_late(commands: Commands) -> None:
    ended = commands.on_server("check")
    lines = [line for line in ended.out.splitlines() if line[6:].startswith("gateways")]
    assert [line[:4].strip() for line in lines] == ["warn", "warn", "ok"]
    assert "dead: 5 unread, 0 pending" in lines[0]
    assert lines[0].endswith("start the gateway, or remove its group with `invites gateways drop`.")
    assert lines[1].endswith("see the gateway's log.")
    assert "alive: 0 unread, 0 pending" in lines[2]


def test_check_lists_no_more_lines_than_can_be_read(commands: Commands, database: Any) -> None:
    for number in range(30):
        database.xgroup_create(STREAM, f"g{number}", "0", mkstream=True)
    lines = [line for line in commands.on_server("check").out.splitlines() if "gateways" in line]
    assert len(lines) == 21
    assert lines[-1].endswith("10 more groups: see `invites gateways list`.")


def test_without_a_group_a_line_says_so(commands: Commands, database: Any) -> None:
    for _ in range(2):
        assert commands.on_server("gateways", "list").out == "shard 0: no group\n"
        assert "  gateways         none yet (no consumer group)\n" in commands.on_server("status").out
        _add(database, 1)


def test_the_lag_is_right_where_the_servers_is_not(commands: Commands, groups: Any) -> None:
    """After XTRIM the server counts entries that are gone, and after XDEL it counts nothing."""
    groups.xtrim(STREAM, maxlen=2, approximate=False)
    assert _listed(commands) == {"alive": (0, 0), "dead": (2, 0), "stuck": (1, 3)}
    _add(groups, 3)
    groups.xdel(STREAM, groups.xrange(STREAM)[3][0])
    lags = {one["name"]: one["lag"] for one in groups.xinfo_groups(STREAM)}
    assert lags[b"stuck"] is None
    found = _listed(commands)
    assert found["dead"] == (4, 0)
    assert found["stuck"][0] >= 1
    groups.xgroup_setid(STREAM, "dead", f"{2**64 - 1}-{2**64 - 1}")
    assert _listed(commands)["dead"] == (0, 0)


def test_a_group_is_dropped_on_all_shards_or_on_one(commands: Commands, groups: Any, tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text('{"redis": {"shards": 2}}')
    options = ("--config", str(file))
    groups.xgroup_create(OTHER, "dead", "0", mkstream=True)
    ended = commands.on_server("gateways", "drop", "dead", *options)
    assert (ended.status, ended.out) == (0, "dead dropped from shard 0\ndead dropped from shard 1\n")
    assert groups.xinfo_groups(OTHER) == []
    for shard in (0, 1):
        groups.xgroup_create(KEYS.of(shard).notifications, "dead", "0")
    ended = commands.on_server("gateways", "drop", "dead", "--shard", "1", *options)
    assert (ended.status, ended.out) == (0, "dead dropped from shard 1\n")
    assert "dead" in {one["name"].decode() for one in groups.xinfo_groups(STREAM)}
    ended = commands.on_server("gateways", "drop", "dead", "--shard", "2", *options)
    assert (ended.status, ended.err) == (2, "invites: There is no shard 2: redis.shards is 2.\n")


def test_a_group_that_is_not_there_is_a_sentence(commands: Commands, groups: Any) -> None:
    for name in ("nobody", "workers"):
        groups.xgroup_create(KEYS.events, "workers", "0", mkstream=True)
        ended = commands.on_server("gateways", "drop", name)
        assert (ended.status, ended.out) == (1, "")
        assert ended.err.startswith(f"invites: There is no group {name}: ")
        assert len(groups.xinfo_groups(KEYS.events)) == 1
        groups.delete(KEYS.events)


def test_a_group_that_has_read_lately_is_dropped_by_force_alone(
    commands: Commands, groups: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = commands.on_server("gateways", "drop", "alive")
    assert (ended.status, ended.out) == (1, "")
    assert "has read from shard 0 in the last 5 minutes: stop its gateway first, or use --force" in ended.err
    assert commands.on_server("gateways", "drop", "alive", "--force").status == 0
    assert {one["name"] for one in groups.xinfo_groups(STREAM)} == {b"dead", b"stuck"}
    monkeypatch.setattr(gateways, "READ_LATELY_MS", -1)
    assert commands.on_server("gateways", "drop", "stuck").status == 0


@pytest.mark.parametrize("name", [EVIL, "caf\u00e9", b"\xff\x1b[2J"])
def test_a_name_cannot_steer_the_terminal_and_can_be_dropped_as_shown(
    commands: Commands, database: Any, name: str | bytes
) -> None:
    notify(database, "x", [])
    database.xgroup_create(STREAM, name, "0")
    for words in (("gateways", "list"), ("gateways", "list", "--json"), ("status",), ("check",)):
        out = commands.on_server(*words).out
        assert all(line.isprintable() for line in out.splitlines()), words
        assert not any(line.startswith("forged") for line in out.splitlines())
    shown = commands.on_server("gateways", "list").out.splitlines()[1].split("  ")[1]
    ended = commands.on_server("gateways", "drop", shown)
    assert (ended.status, ended.err) == (0, "")
    assert database.xinfo_groups(STREAM) == []
