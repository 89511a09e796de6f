"""`invites bench latency` with few calls: what is timed, and which results are refused."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Mapping

import pytest
import redis

from invites.store.settings import Settings
from tests.support.commands import Commands
from tests.support.waiting import wait_until_sync
from workers.lab.bench import fleet, latency
from workers.lab.bench.baseline import Baseline
from workers.lab.bench.latency import Run
from workers.lab.bench.load import Load
from workers.lab.bench.schedule import even
from workers.lab.bench.target import BenchError, open_target
from workers.lab.child_process import ChildProcess
from workers.lab.worker_process import start_worker

_KEYS = ["rate", "pending", "invite_p50_ms", "invite_p99_ms", "accept_p50_ms", "accept_p99_ms", "load"]
_SHORT = ("bench", "latency", "--rate", "100", "--seconds", "0.3")


@pytest.fixture
def slow_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Accept whatever rate is reached: others may be using this machine."""
    monkeypatch.setattr(latency, "_REACHED", 0.0)


@pytest.mark.usefixtures("slow_machine")
def test_prints_one_json_object(commands: Commands) -> None:
    ended = commands.run(*_SHORT, "--pending", "50", "--workers", "2", "--json")
    assert ended.status == 0, ended.err
    result = json.loads(ended.out)
    assert list(result) == _KEYS
    assert [result["rate"], result["pending"]] == [100, 50]
    assert 0 < result["invite_p50_ms"] <= result["invite_p99_ms"]
    assert 0 < result["accept_p50_ms"] <= result["accept_p99_ms"]
    assert ended.err.startswith("making 50 pending invites\noffering 100 calls/s for 1 s\n")


@pytest.mark.usefixtures("slow_machine")
def test_offers_a_share_of_the_throughput(commands: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency, "_BACKLOG", 200)
    ended = commands.run("bench", "latency", "--load", "0.05", "--seconds", "0.3", "--json")
    assert ended.status == 0, ended.err
    result = json.loads(ended.out)
    throughput = float(ended.err.partition("the throughput is ")[2].partition(" ")[0].replace(",", ""))
    assert result["load"] == 0.05
    assert result["rate"] == pytest.approx(0.05 * throughput, abs=1)


@pytest.mark.usefixtures("slow_machine")
def test_measures_another_server_and_deletes_its_keys(commands: Commands, database: redis.Redis) -> None:
    database.set("theirs", "1")
    ended = commands.on_server(*_SHORT)
    assert ended.status == 0, ended.err
    assert "invite to invitation, p50" in ended.out
    assert database.keys() == [b"theirs"]


@pytest.mark.usefixtures("slow_machine")
def test_a_stall_counts_for_all_events_that_were_due(monkeypatch: pytest.MonkeyPatch) -> None:
    """A load that waits for its answers would see the stall once: coordinated omission."""
    pids: list[int] = []

    def start(url: str, configuration: Mapping[str, object]) -> ChildProcess:
        worker = start_worker(url, configuration)
        pids.append(worker.pid)
        return worker

    monkeypatch.setattr(fleet, "start_worker", start)
    load = Load(200, 3, 1)
    with open_target(None) as target:
        baseline = Baseline(target, Settings())
        target.make_groups(counted=False)
        baseline.register(load)
        with fleet.open_fleet(target, 1, {}) as workers:
            target.publish(Load(1, 1, 1, name="first-").invites())
            fleet.await_first_commit(target, workers)
            os.kill(pids[0], signal.SIGSTOP)
            thaw = threading.Thread(
                target=_thaw_once_published, args=(target.url, target.keys.events, pids[0])
            )
            thaw.start()
            run = latency.offer(target, workers, load, 100.0)
            thaw.join()
    assert sum(seconds > 0.2 for seconds in run.invites.values()) > 50  # of 100 that were due meanwhile


def _thaw_once_published(url: str, stream: str, pid: int) -> None:
    """Let the worker continue when 100 invites wait: 1 s after the first. No accept follows while nothing rings."""
    with redis.Redis.from_url(url) as client:
        before = client.xlen(stream)
        try:
            wait_until_sync(lambda: client.xlen(stream) >= before + 100, "100 invites are published")
        finally:
            os.kill(pid, signal.SIGCONT)


def test_the_schedule_is_even_and_each_accept_follows_its_invite() -> None:
    due = list(even(Load(300, 3, 1), 1000.0))
    times = [one.at for one in due]
    assert times == sorted(times)
    invites = {one.call: one.at for one in due if one.event[0] == "invite"}
    accepts = {one.call: one.at for one in due if one.event[0] == "accept"}
    assert invites == {call: call / 1000 for call in range(300)}
    assert {round(accepts[call] - invites[call], 6) for call in range(300)} == {0.1005}


def test_few_calls_are_all_invited_before_the_first_accept() -> None:
    kinds = [one.event[0] for one in even(Load(3, 3, 1), 1000.0)]
    assert kinds == ["invite"] * 3 + ["accept"] * 3


def test_a_rate_that_was_not_offered_is_no_result() -> None:
    with pytest.raises(BenchError, match=r"offered only 700 of 1,000 calls/s"):
        latency.check(Run({}, {}, [], calls_per_s=700.0, offered_per_s=700.0), 1000.0)


def test_workers_that_do_not_keep_up_are_no_result() -> None:
    with pytest.raises(BenchError, match=r"workers settled only 700 of 1,000 calls/s"):
        latency.check(Run({}, {}, [], calls_per_s=700.0, offered_per_s=1000.0), 1000.0)


def test_percentiles() -> None:
    values = [float(value) for value in range(100, 0, -1)]
    assert [latency.percentile(values, share) for share in (0.5, 0.99)] == [51.0, 100.0]
    assert latency.percentile([7.0], 0.99) == 7.0
