"""`invites bench peers`: how rivals are run and timed; the real ones where they are installed."""

from __future__ import annotations

import importlib.util
import json

import pytest
import redis

from tests.support.commands import Commands
from workers.lab.bench import comparison
from workers.lab.bench.comparison import RIVALS, Rival

_IDLE = Rival("redis", "tests.integration.idle_rival")
_SHORT = ("bench", "peers", "--calls", "50", "--jobs", "20", "--rounds", "1")


def _only(monkeypatch: pytest.MonkeyPatch, **rivals: Rival) -> None:
    monkeypatch.setattr(comparison, "RIVALS", rivals)


def test_prints_one_json_object(commands: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    _only(monkeypatch, idle=_IDLE, other=_IDLE)
    ended = commands.run(*_SHORT, "--json")
    assert ended.status == 0, ended.err
    result = json.loads(ended.out)
    assert list(result) == ["calls_per_s", "events_per_s", "peers", "ratio_to_best"]
    assert list(result["peers"]) == ["idle", "other"]
    assert result["events_per_s"] == pytest.approx(2 * result["calls_per_s"], abs=0.2)
    best = max(result["peers"].values())
    assert result["ratio_to_best"] == pytest.approx(result["events_per_s"] / best, abs=0.01)
    assert ended.err.startswith("round 1: ")


def test_measures_another_server_and_deletes_what_rivals_leave(
    commands: Commands, database: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    _only(monkeypatch, idle=_IDLE)
    database.set("theirs", "1")
    ended = commands.on_server(*_SHORT)
    assert ended.status == 0, ended.err
    assert "jobs that do nothing, idle" in ended.out
    assert database.keys() == [b"theirs"]


def test_a_missing_package_is_named(commands: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    _only(monkeypatch, idle=_IDLE, gone=Rival("no_such_package", "nowhere"))
    ended = commands.run(*_SHORT)
    assert ended.status == 1
    assert ended.err == (
        "invites: Not installed: no_such_package. Install it with: pip install 'invites-worker[bench]'\n"
    )


def test_a_rival_that_fails_is_no_result(commands: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    _only(monkeypatch, broken=Rival("redis", "tests.integration.no_such_module"))
    ended = commands.run(*_SHORT)
    assert ended.status == 1
    assert "broken ended with status 1: " in ended.err
    assert "no_such_module" in ended.err


@pytest.mark.parametrize("name", list(RIVALS))
def test_a_real_rival_does_its_jobs(commands: Commands, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    if importlib.util.find_spec(RIVALS[name].package) is None:
        pytest.skip(f"{name} is not installed (it is in the extra `bench`)")
    _only(monkeypatch, **{name: RIVALS[name]})
    ended = commands.run(*_SHORT, "--json")
    assert ended.status == 0, ended.err
    assert json.loads(ended.out)["peers"][name] > 0
