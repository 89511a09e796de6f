"""`invites bench throughput` on a tiny load: what it counts, and which results it refuses."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest
import redis

from invites.store.settings import Settings
from tests.support.commands import Commands
from tests.support.servers import binaries
from workers.lab.bench import fleet, throughput
from workers.lab.bench.baseline import Baseline
from workers.lab.bench.fleet import cpu_s, parse_ps_time
from workers.lab.bench.load import Load
from workers.lab.bench.target import BenchError, open_target
from workers.lab.bench.throughput import Plan, Round, WorkerRun, measure, summarize
from workers.lab.child_process import ChildProcess

_KEYS = [
    "calls",
    "devices",
    "workers",
    "shards",
    "seconds",
    "calls_per_s",
    "events_per_s",
    "worker_cpu_s",
    "worker_us_per_call",
    "server_us_per_call",
    "server_busy",
    "ceiling_calls_per_s",
    "ceiling_ratio",
]
_TINY = ("bench", "throughput", "--calls", "60", "--rounds", "1")


def _plan(load: Load, **options: object) -> Plan:
    return msgspec.structs.replace(Plan(load, 1, None, {}, Settings()), **options)


def _start(monkeypatch: pytest.MonkeyPatch, worker: str) -> None:
    def start(_url: str, _configuration: Mapping[str, object]) -> ChildProcess:
        return ChildProcess([sys.executable, "-c", worker])

    monkeypatch.setattr(fleet, "start_worker", start)


def test_prints_one_json_object(commands: Commands) -> None:
    ended = commands.run(*_TINY, "--workers", "2", "--devices", "4", "--json")
    assert ended.status == 0, ended.err
    result = json.loads(ended.out)
    assert list(result) == _KEYS
    assert [result[name] for name in _KEYS[:4]] == [60, 4, 2, 1]
    assert result["calls_per_s"] > 0
    assert result["ceiling_calls_per_s"] > 0
    assert ended.err.startswith("round 1: ")


def test_spreads_the_calls_over_shards(commands: Commands) -> None:
    ended = commands.run(*_TINY, "--shards", "3", "--json")
    assert ended.status == 0, ended.err
    result = json.loads(ended.out)
    assert [result[name] for name in _KEYS[:4]] == [60, 3, 1, 3]


def test_compares_numbers_of_shards(commands: Commands) -> None:
    ended = commands.run(*_TINY, "--shards", "1,2", "--json")
    assert ended.status == 0, ended.err
    found = json.loads(ended.out)
    assert {name: one["shards"] for name, one in found.items()} == {"1": 1, "2": 2}
    assert all(one["server_us_per_call"] > 0 for one in found.values())
    assert commands.run(*_TINY, "--shards", "1,x").status == 2
    assert commands.run(*_TINY, "--shards", "0").status == 2


def test_compares_numbers_of_workers_with_the_same_load(commands: Commands) -> None:
    ended = commands.run(*_TINY, "--workers", "1,2", "--json")
    assert ended.status == 0, ended.err
    found = json.loads(ended.out)
    assert {name: one["workers"] for name, one in found.items()} == {"1": 1, "2": 2}
    assert [line.partition(":")[0] for line in ended.err.splitlines()] == ["1", "2"]
    assert commands.run(*_TINY, "--workers", "1,2", "--shards", "1,2").status == 2
    assert commands.run(*_TINY, "--workers", "0").status == 2
    calls = 2_000
    alike = [Load(calls, 3, 1, all_pending=True), Load(calls, 3, 2)]
    assert [list(load.backlog()) for load in alike] == [[*alike[0].invites(), *alike[0].accepts()]] * 2


def test_compares_servers(commands: Commands) -> None:
    programs = ("embedded", "embedded:libc", str(binaries.SERVER))
    ended = commands.run(*_TINY, "--server", ",".join(programs), "--json")
    assert ended.status == 0, ended.err
    found = json.loads(ended.out)
    assert tuple(found) == programs
    assert all(one["calls_per_s"] > 0 for one in found.values())
    assert commands.run(*_TINY, "--server", "embedded", "--shards", "1,2").status == 2
    refused = commands.run(*_TINY, "--server", "no-such-server")
    assert (refused.status, refused.out) == (1, "")
    assert "no server program 'no-such-server'" in refused.err


def test_prints_a_table_for_people(commands: Commands) -> None:
    ended = commands.run(*_TINY)
    assert ended.status == 0, ended.err
    assert "workers / bare server" in ended.out


def test_measures_another_server_and_deletes_its_keys(commands: Commands, database: redis.Redis) -> None:
    database.set("theirs", "1")
    ended = commands.on_server(*_TINY, "--json")
    assert ended.status == 0, ended.err
    assert database.keys() == [b"theirs"]


def test_measures_the_configuration_that_it_is_given(commands: Commands, tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text('{"invites": {"onlyOneDeviceWithInvitations": true, "retainAfter": 1000}}')
    ended = commands.run(*_TINY, "--config", str(file), "--json")
    assert ended.status == 0, ended.err


def test_says_that_a_server_is_away(commands: Commands) -> None:
    ended = commands.run(*_TINY, "--redis-url", "redis://127.0.0.1:1")
    assert ended.status == 1
    assert ended.err.startswith("invites: The server cannot be reached: ")


def test_the_bare_server_gets_batches_as_large_as_the_workers_sent_it() -> None:
    load = Load(calls=1_000, devices=2, workers=1)
    run = throughput.settle_backlog(load, None, {}, Settings())
    assert 1 < run.batch <= 1_024  # pace.py


def test_an_incomplete_call_is_no_result() -> None:
    load = Load(calls=3, devices=3, workers=1)
    with open_target(None) as target:
        baseline = Baseline(target, Settings())
        target.make_groups()
        baseline.register(load)
        target.publish(list(load.backlog())[:-1])
        baseline.measure(batch=2)
        with pytest.raises(
            BenchError, match=r"3 calls should have ended as ACCEPTED 200.*say: 2 ACCEPTED 200"
        ):
            throughput._verify(target, load)


def test_calls_that_end_otherwise_are_no_result() -> None:
    load = Load(calls=3, devices=3, workers=1)
    with open_target(None) as target:
        baseline = Baseline(target, Settings())
        target.make_groups()  # and nobody is registered
        target.publish(load.backlog())
        baseline.measure(batch=2)
        with pytest.raises(BenchError, match="say: 3 DECLINED 404"):
            throughput._verify(target, load)


def test_a_commit_that_fails_is_no_result() -> None:
    load = Load(calls=3, devices=3, workers=1)
    with open_target(None) as target:
        baseline = Baseline(target, Settings())
        target.make_groups()
        baseline.register(load)
        target.command("SET", target.keys.pending("callee-0"), "not a set")
        target.publish(load.backlog())
        with pytest.raises(BenchError, match=r"1 events failed on the bare server.*holds a string"):
            baseline.measure(batch=2)


def test_a_worker_that_ends_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    _start(monkeypatch, "raise SystemExit('no, thank you')")
    with pytest.raises(BenchError, match="A worker ended with status 1: no, thank you"):
        measure(_plan(Load(calls=3, devices=3, workers=1)), lambda *_: None)


def test_workers_that_do_nothing_are_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    _start(monkeypatch, "import signal; signal.pause()")
    monkeypatch.setattr(fleet, "STUCK_S", 0.1)
    with pytest.raises(BenchError, match="The workers committed nothing"):
        measure(_plan(Load(calls=3, devices=3, workers=1)), lambda *_: None)


def test_with_several_workers_no_accept_is_published_before_all_invites_are_settled() -> None:
    kinds = [[kind for kind, _ in part] for part in Load(calls=5, devices=3, workers=2).parts]
    assert kinds == [["invite"] * 5, ["accept"] * 5]
    alone = Load(calls=5, devices=3, workers=1)
    assert [list(part) for part in alone.parts] == [list(alone.backlog())]


def test_each_accept_stands_a_wave_behind_its_invite() -> None:
    load = Load(calls=2500, devices=3, workers=1)
    positions: dict[str, dict[str, int]] = {"invite": {}, "accept": {}}
    for position, (kind, payload) in enumerate(load.backlog()):
        positions[kind][json.loads(payload)["inviteId"]] = position
    assert len(positions["invite"]) == len(positions["accept"]) == 2500
    assert sum(map(len, positions.values())) == load.events
    gaps = {positions["accept"][call] - at for call, at in positions["invite"].items()}
    assert gaps == {1000, 500}  # the last wave is a half one


def test_the_load_is_what_a_call_is_defined_as() -> None:
    load = Load(calls=2000, devices=3, workers=1)
    registered = [json.loads(payload)["registry"] for _, payload in load.registrations()]
    assert len(registered) == 3000
    assert len({each["user"] for each in registered}) == 1000
    context = json.loads(next(load.backlog())[1])["context"]
    assert len(json.dumps(context, separators=(",", ":"))) == 100


def test_medians() -> None:
    rounds = [
        Round(100, WorkerRun(seconds, cpu, 2 * cpu, 10), baseline_s=baseline)
        for seconds, cpu, baseline in ((2.0, 0.3, 1.0), (1.0, 0.1, 0.8), (9.0, 0.2, 7.0))
    ]
    result = summarize(Load(100, 3, 1), rounds)
    assert (result.seconds, result.calls_per_s, result.events_per_s) == (2.0, 50.0, 100.0)
    assert (result.worker_cpu_s, result.baseline_calls_per_s, result.baseline_ratio) == (0.2, 100.0, 0.5)
    assert (result.worker_us_per_call, result.server_us_per_call) == (2000.0, 4000.0)
    assert result.server_busy == 0.2


def test_processor_time_of_a_process() -> None:
    own = sum(os.times()[:2])
    assert cpu_s(os.getpid()) == pytest.approx(own, abs=0.5)


@pytest.mark.parametrize(
    ("printed", "seconds"),
    [("00:00:07\n", 7), ("  0:01.53\n", 1.53), ("01:02:03", 3723), ("2-00:00:01", 172_801)],
)
def test_processor_time_as_ps_prints_it(printed: str, seconds: float) -> None:
    assert parse_ps_time(printed) == pytest.approx(seconds)
