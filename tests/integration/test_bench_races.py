"""`invites bench races`, a short run: all opponents are played, and faults are found."""

from __future__ import annotations

import json

import pytest
import redis

from tests.support.commands import Commands
from workers.lab.bench import race_runner
from workers.lab.bench.race_runner import RaceRunner
from workers.lab.bench.trials import OPPONENTS

_KEYS = [
    *("trials", "workers", "kills", "double_winners", "lost_cancels", "ghost_rings"),
    *("missing_records", "duplicate_notifications", "seconds"),
]


@pytest.mark.chaos
def test_nothing_goes_wrong_while_workers_are_killed(
    commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(race_runner, "_KILL_EVERY_S", 0.5)
    ended = commands.run("bench", "races", "--trials", "1500", "--workers", "2", "--json")
    assert ended.status == 0, ended.err
    result = json.loads(ended.out)
    assert list(result) == _KEYS
    assert [result["trials"], result["workers"]] == [1500, 2]
    assert result["kills"] >= 1
    assert [result[name] for name in _KEYS[3:8]] == [0] * 5


def test_each_race_is_run(commands: Commands, database: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    # A busy machine restarts the only worker more slowly than ended calls are forgotten.
    monkeypatch.setattr(race_runner, "_KILL_EVERY_S", 600.0)
    database.set("theirs", "1")
    ended = commands.on_server("bench", "races", "--trials", "150", "--workers", "1")
    assert ended.status == 0, ended.err
    for opponent in OPPONENTS:
        assert f"accept first, not {opponent}" in ended.out
    assert database.keys() == [b"theirs"]


def test_what_goes_wrong_is_the_end_of_the_command(
    commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    hear = RaceRunner._hear

    def twice(self: RaceRunner, identity: str, kind: str, peers: bytes, payload: bytes) -> None:
        hear(self, identity, kind, peers, payload)
        if kind == "inviteAccepted":
            hear(self, identity, kind, peers, payload)

    monkeypatch.setattr(RaceRunner, "_hear", twice)
    ended = commands.run("bench", "races", "--trials", "20", "--workers", "1", "--json")
    assert ended.status == 1
    assert json.loads(ended.out)["duplicate_notifications"] > 0
    assert " faults, the first: trial-" in ended.err


def test_workers_that_do_not_get_on_are_no_result(
    commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(race_runner, "_STUCK_S", 0.2)
    monkeypatch.setattr(RaceRunner, "_conclude", lambda *_: False)
    ended = commands.run("bench", "races", "--trials", "5", "--workers", "1", "--json")
    assert ended.status == 1
    assert ended.out == ""
    assert "The workers got stuck after 0 trials." in ended.err
