"""`invites bench look-ups` with few calls: what is counted and timed, and which results are refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.commands import Commands
from workers.lab.bench import latency
from workers.lab.bench.sippo import open_sippo
from workers.lab.bench.target import BenchError
from workers.lab.fake_sippo import Directory, slow

_SHORT = ("bench", "look-ups", "--rate", "50", "--seconds", "0.2", "--members", "4")


@pytest.fixture
def _slow_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Accept whatever rate is reached: others may be using this machine."""
    monkeypatch.setattr(latency, "_REACHED", 0.0)


@pytest.mark.slow
@pytest.mark.usefixtures("_slow_machine")
def test_prints_one_json_object(commands: Commands) -> None:
    ended = commands.run(*_SHORT, "--look-up-ms", "30", "--json")
    assert ended.status == 0, ended.err
    result = json.loads(ended.out)
    assert list(result) == ["rate", "look_up_ms", "members", "requests", "waits", "dead"]
    assert result["requests"] == {
        "legacy": {"registered": 1, "phone": 2, "group": 6},
        "reachability": {"registered": 1, "phone": 1, "group": 1},
    }
    waits = result["waits"]
    assert list(waits) == ["none", "legacy", "reachability"]
    assert waits["none"]["p50_ms"] > 0
    assert min(waits["legacy"]["p50_ms"], waits["reachability"]["p50_ms"]) >= 30
    for each in (*waits.values(), result["dead"]):
        assert each["p50_ms"] <= each["p99_ms"] <= each["longest_ms"]


@pytest.mark.parametrize("command", ["throughput", "memory", "latency", "races"])
def test_what_measures_calls_alone_refuses_lookups(commands: Commands, tmp_path: Path, command: str) -> None:
    file = tmp_path / "config.json"
    file.write_text('{"invites": {"basic": {"resolvePush": true}}}')
    ended = commands.run("bench", command, "--config", str(file))
    assert ended.status == 2
    assert "set invites.basic.resolvePush to the default, or use `look-ups`" in ended.err


def test_the_fake_sippo_server_counts_lookups_alone() -> None:
    with open_sippo(Directory()) as sippo:
        assert sippo.lookups() == 0
        sippo.fault(slow(1))
        sippo.fault(None)
        assert sippo.lookups() == 0
        assert sippo.wac["address"].startswith("http://127.0.0.1:")


def test_a_stand_in_that_does_not_start_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.lab.bench.sippo.sys.executable", "/bin/false")
    with pytest.raises(BenchError, match="does not start"), open_sippo(Directory()):
        pass
