"""`invites bench throughput`: measures complete calls a second, and the bare server with the same commits."""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from invites.store.settings import Settings
from workers.lab.bench.baseline import Baseline
from workers.lab.bench.fleet import STUCK_S, Fleet, await_first_commit, open_fleet
from workers.lab.bench.load import EVENTS_PER_CALL, Load
from workers.lab.bench.target import BenchError, Target, open_target

_FASTEST_POLL_S: Final = 0.002
_SLOWEST_POLL_S: Final = 0.1
_WANTED: Final = "ACCEPTED 200"


class Throughput(msgspec.Struct, frozen=True):
    """The result: medians over the rounds, times in s. A call's processor time is in us, all shards together.

    `server_busy` is the share of the time in which the server worked. The bare server's commits (`ceiling_…`) are
    prepared: nothing reads the events.
    """

    calls: int
    devices: int
    workers: int
    shards: int
    seconds: float
    calls_per_s: float
    events_per_s: float
    worker_cpu_s: float
    worker_us_per_call: float
    server_us_per_call: float
    server_busy: float
    baseline_calls_per_s: float = msgspec.field(name="ceiling_calls_per_s")
    baseline_ratio: float = msgspec.field(name="ceiling_ratio")


class WorkerRun(msgspec.Struct, frozen=True):
    """One backlog settled by workers, from the beginning of the first commit to the end of the last."""

    seconds: float
    cpu_s: float
    server_cpu_s: float
    batch: int
    """Events in one commit, on average."""


class Round(msgspec.Struct, frozen=True):
    """One backlog settled by workers, and the same by the bare server."""

    calls: int
    worker: WorkerRun
    baseline_s: float

    @property
    def calls_per_s(self) -> float:
        """Complete calls a second with workers."""
        return self.calls / self.worker.seconds

    @property
    def baseline_calls_per_s(self) -> float:
        """Complete calls a second on the bare server."""
        return self.calls / self.baseline_s


class Plan(msgspec.Struct, frozen=True):
    """What to measure: the load, the rounds, the server (None: our own), and the rules.

    `rules` is `invites` in the workers' config.json; `settings` is the same for the bare server.
    """

    load: Load
    rounds: int
    url: str | None
    rules: dict[str, Any]
    settings: Settings
    shards: int = 1


def measure(plan: Plan, report: Callable[[int, Round], None]) -> Throughput:
    """Measure workers and bare server in turn; calls `report` after each round.

    The bare server always has one shard, because only workers can forward entries between shards.

    Raises `BenchError` when there is no valid result.
    """
    done: list[Round] = []
    for number in range(1, plan.rounds + 1):
        done.append(one_round(plan))
        report(number, done[-1])
    return summarize(plan.load, done, plan.shards)


def measure_in_turn(
    plans: Mapping[str, Plan], rounds: int, report: Callable[[str, Round], None]
) -> dict[str, Throughput]:
    """Measure each plan once in each round. Calls `report` after each. Raises `BenchError` as `measure` does."""
    done: dict[str, list[Round]] = {name: [] for name in plans}
    for _ in range(rounds):
        for name, plan in plans.items():
            done[name].append(one_round(plan))
            report(name, done[name][-1])
    return {name: summarize(plan.load, done[name], plan.shards) for name, plan in plans.items()}


def one_round(plan: Plan) -> Round:
    """Workers, then the bare server. Raises `BenchError` when there is no valid result."""
    worker = settle_backlog(plan.load, plan.url, plan.rules, plan.settings, plan.shards)
    return Round(plan.load.calls, worker, _run_baseline(plan, worker.batch))


def settle_backlog(
    load: Load, url: str | None, rules: dict[str, Any], settings: Settings, shards: int = 1
) -> WorkerRun:
    """Let workers settle one backlog. Raises `BenchError` when there is no valid result."""
    with open_target(url, shards) as target:
        target.make_groups()
        return settle_backlog_in(target, Baseline(target, settings), load, rules)


def settle_backlog_in(target: Target, baseline: Baseline, load: Load, rules: dict[str, Any]) -> WorkerRun:
    """As `settle_backlog`, on a server that may hold other calls. Each load there needs its own `name`."""
    baseline.register(load)
    first, *others = load.parts
    settled_before, commits_before = target.progress().settled, target.commits()
    published = len(target.publish(first))
    with open_fleet(target, load.workers, rules) as fleet:
        began = await_first_commit(target, fleet)
        cpu_before, server_before = fleet.cpu_s(), target.cpu_s()
        ended = _await_end(target, fleet, settled_before + published, began)
        for part in others:
            published += len(target.publish(part))
            ended = _await_end(target, fleet, settled_before + published, began)
        cpu_s, server_cpu_s = fleet.cpu_s() - cpu_before, target.cpu_s() - server_before
        commits = target.commits() - commits_before
    _verify(target, load)
    return WorkerRun(ended - began, cpu_s, server_cpu_s, max(1, round(load.events / commits)))


def summarize(load: Load, rounds: list[Round], shards: int = 1) -> Throughput:
    """The medians of all rounds. The ratio is computed from the two medians, so readers can check it."""
    seconds = statistics.median(each.worker.seconds for each in rounds)
    baseline = load.calls / statistics.median(each.baseline_s for each in rounds)
    calls_per_s = load.calls / seconds
    return Throughput(
        calls=load.calls,
        devices=load.devices,
        workers=load.workers,
        shards=shards,
        seconds=round(seconds, 3),
        calls_per_s=round(calls_per_s, 1),
        events_per_s=round(calls_per_s * EVENTS_PER_CALL, 1),
        worker_cpu_s=round(statistics.median(each.worker.cpu_s for each in rounds), 2),
        worker_us_per_call=_us_per_call(load, [each.worker.cpu_s for each in rounds]),
        server_us_per_call=_us_per_call(load, [each.worker.server_cpu_s for each in rounds]),
        server_busy=round(
            statistics.median(each.worker.server_cpu_s / each.worker.seconds for each in rounds), 3
        ),
        baseline_calls_per_s=round(baseline, 1),
        baseline_ratio=round(calls_per_s / baseline, 3),
    )


def _us_per_call(load: Load, seconds: list[float]) -> float:
    return round(statistics.median(seconds) / load.calls * 1e6, 1)


def _run_baseline(plan: Plan, batch: int) -> float:
    with open_target(plan.url) as target:
        baseline = Baseline(target, plan.settings)
        target.make_groups()
        baseline.register(plan.load)
        target.publish(plan.load.backlog())
        seconds = baseline.measure(batch)
        _verify(target, plan.load)
    return seconds


def _await_end(target: Target, fleet: Fleet, events: int, began: float) -> float:
    """The server's time when all events are settled. Polls more often towards the end."""
    settled, moved = 0, time.monotonic()
    while True:
        fleet.check()
        progress = target.progress()
        if progress.settled >= events and not progress.carrying:
            return progress.at
        if progress.settled > settled:
            settled, moved = progress.settled, time.monotonic()
        elif time.monotonic() - moved > STUCK_S:
            raise BenchError(f"The workers got stuck at {progress}. {fleet.words()}".strip())
        remaining_s = (progress.at - began) * (events - settled) / max(1, settled)
        time.sleep(min(max(remaining_s / 4, _FASTEST_POLL_S), _SLOWEST_POLL_S))


def _verify(target: Target, load: Load) -> None:
    """Raise `BenchError` unless every call was a complete call."""
    ends = Counter(f"{record['state']} {record['error']}" for record in target.records())
    if ends != {_WANTED: load.calls}:
        listed = ", ".join(f"{count} {end}" for end, count in sorted(ends.items())) or "none"
        raise BenchError(f"{load.calls} calls should have ended as {_WANTED}. The records say: {listed}.")
