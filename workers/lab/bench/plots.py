"""`invites bench plots`: measures over workers, shards, rates and pending invites, for `drawing`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import Any, Final

import msgspec

from invites.store.settings import Settings
from workers.lab.bench import latency
from workers.lab.bench.baseline import Baseline
from workers.lab.bench.latency import Latency
from workers.lab.bench.load import Load
from workers.lab.bench.target import BenchError, open_target
from workers.lab.bench.throughput import settle_backlog, settle_backlog_in

FIGURES: Final = "figures.json"
"""The file with the figures, beside the plots."""

_DEVICES: Final = 3


class Speed(msgspec.Struct, frozen=True):
    """Complete calls a second, with these numbers of workers, shards and other pending invites.

    A call takes this processor time (us) of all workers, and of the server. 0: not known.
    """

    workers: int
    shards: int
    pending: int
    calls_per_s: float
    worker_us: float = 0.0
    server_us: float = 0.0


class Figures(msgspec.Struct, frozen=True):
    """Everything that the plots show."""

    by_workers: list[Speed]
    by_rate: list[Latency]
    """Up to the knee: the last rate that the workers sustained."""
    speed_by_pending: list[Speed]
    latency_by_pending: list[Latency]


class Plan(msgspec.Struct, frozen=True):
    """What to measure, in which steps, on which server (None: our own), under which rules."""

    calls: int
    seconds: float
    workers: Sequence[int]
    shards: Sequence[int]
    rates: Sequence[float]
    pending: Sequence[int]
    rate: float
    """Calls a second while latency by pending invites is measured."""
    url: str | None
    rules: dict[str, Any]
    settings: Settings


def steps(first: int, factor: int, most: int) -> list[int]:
    """`first`, then each value times `factor`, up to `most`."""
    found = [first]
    while found[-1] * factor <= most:
        found.append(found[-1] * factor)
    return found


def measure(plan: Plan, tell: Callable[[str], None]) -> Figures:
    """Measure everything. Raises `BenchError` when there is no valid result."""
    by_workers, by_rate = measure_by_workers(plan, tell), _by_rate(plan, tell)
    speeds, latencies = _by_pending(plan, tell)
    return Figures(by_workers, by_rate, speeds, latencies)


def measure_by_workers(plan: Plan, tell: Callable[[str], None]) -> list[Speed]:
    """Measure each number of workers with each number of shards. Raises `BenchError`."""
    speeds = []
    for shards, workers in product(plan.shards, plan.workers):
        load = Load(plan.calls, _DEVICES, workers)
        run = settle_backlog(load, plan.url, plan.rules, plan.settings, shards)
        each_us = [round(spent / plan.calls * 1e6, 1) for spent in (run.cpu_s, run.server_cpu_s)]
        speeds.append(Speed(workers, shards, 0, round(plan.calls / run.seconds, 1), *each_us))
        tell(f"workers {workers}, shards {shards}: {speeds[-1].calls_per_s:,.0f} calls/s")
    return speeds


def save(figures: Figures, folder: Path) -> None:
    """Write the figures into the folder."""
    (folder / FIGURES).write_bytes(msgspec.json.format(msgspec.json.encode(figures), indent=1) + b"\n")


def load(folder: Path) -> Figures:
    """Read the figures in the folder. Raises `BenchError` when there are none."""
    try:
        return msgspec.json.decode((folder / FIGURES).read_bytes(), type=Figures)
    except (OSError, msgspec.DecodeError) as error:
        raise BenchError(f"There are no figures in {folder}, measure without --redraw: {error}") from None


def _timed(plan: Plan, rate: float, pending: int) -> latency.Plan:
    return latency.Plan(rate, plan.seconds, pending, _DEVICES, 1, plan.url, plan.rules, plan.settings)


def _by_rate(plan: Plan, tell: Callable[[str], None]) -> list[Latency]:
    measured: list[Latency] = []
    for rate in plan.rates:
        try:
            measured.append(latency.measure(_timed(plan, rate, 0), tell))
        except latency.NotReachedError as error:
            if not measured:
                raise
            tell(f"The knee is reached: {error}")
            break
    return measured


def _by_pending(plan: Plan, tell: Callable[[str], None]) -> tuple[list[Speed], list[Latency]]:
    speeds, latencies, made = [], [], 0
    with open_target(plan.url) as target:
        baseline = Baseline(target, plan.settings)
        target.make_groups()
        for pending in plan.pending:
            tell(f"making {pending - made:,} more pending invites")
            baseline.make_pending(Load(pending - made, _DEVICES, 1, name=f"waiting-{pending}-"))
            made = pending
            load = Load(plan.calls, _DEVICES, 1, name=f"busy-{pending}-")
            run = settle_backlog_in(target, baseline, load, plan.rules)
            target.empty_streams()
            speeds.append(Speed(1, 1, pending, round(plan.calls / run.seconds, 1)))
            tell(f"{pending:,} pending: {speeds[-1].calls_per_s:,.0f} calls/s")
            timed = _timed(plan, plan.rate, pending)
            try:
                latencies.append(latency.measure_in(target, baseline, timed, tell, name=f"timed-{pending}-"))
            except latency.NotReachedError as error:
                if not latencies:
                    raise
                tell(f"Left out with {pending:,} pending: {error}")
            target.empty_streams()
    return speeds, latencies
