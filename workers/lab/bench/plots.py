"""`invites bench plots`: the figures over workers, rate and pending invites, measured and drawn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import Any, Final

import msgspec

from invites.store.settings import Settings
from workers.lab.bench import latency
from workers.lab.bench.arena import open_arena
from workers.lab.bench.ceiling import Ceiling
from workers.lab.bench.chart import Axis, chart
from workers.lab.bench.latency import Latency
from workers.lab.bench.load import Load
from workers.lab.bench.throughput import settle_backlog, settle_backlog_in

FIGURES: Final = "figures.json"
"""What was measured, beside the plots."""

_DEVICES: Final = 3


class Speed(msgspec.Struct, frozen=True):
    """Complete calls a second, with so many workers and shards, so many invites being pending meanwhile."""

    workers: int
    shards: int
    pending: int
    calls_per_s: float


class Figures(msgspec.Struct, frozen=True):
    """All that is drawn."""

    by_workers: list[Speed]
    by_rate: list[Latency]
    """Up to the knee: the last rate with which the workers kept up."""
    speed_by_pending: list[Speed]
    latency_by_pending: list[Latency]


class Plan(msgspec.Struct, frozen=True):
    """What to measure, in which steps, where (None: on servers of our own), under which rules."""

    calls: int
    seconds: float
    workers: Sequence[int]
    shards: Sequence[int]
    rates: Sequence[float]
    pending: Sequence[int]
    rate: float
    """Of the calls that are timed while others are pending."""
    url: str | None
    rules: dict[str, Any]
    settings: Settings


def steps(first: int, factor: int, most: int) -> list[int]:
    """The first and each `factor` times the one before, up to the most."""
    found = [first]
    while found[-1] * factor <= most:
        found.append(found[-1] * factor)
    return found


def measure(plan: Plan, tell: Callable[[str], None]) -> Figures:
    """Measure everything. Raises `BenchError` when there is no valid result."""
    by_workers = []
    for shards, workers in product(plan.shards, plan.workers):
        load = Load(plan.calls, _DEVICES, workers)
        run = settle_backlog(load, plan.url, plan.rules, plan.settings, shards)
        by_workers.append(Speed(workers, shards, 0, round(plan.calls / run.seconds, 1)))
        tell(f"workers {workers}, shards {shards}: {by_workers[-1].calls_per_s:,.0f} calls/s")
    by_rate = _by_rate(plan, tell)
    speeds, latencies = _by_pending(plan, tell)
    return Figures(by_workers, by_rate, speeds, latencies)


def draw(figures: Figures, folder: Path) -> list[Path]:
    """Write the plots and the figures into the folder; returns the plots."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FIGURES).write_bytes(msgspec.json.format(msgspec.json.encode(figures), indent=1) + b"\n")
    plots = {
        "calls-by-workers": chart(
            "Complete calls a second, by workers and shards",
            Axis("worker processes"),
            Axis("calls/s"),
            {
                f"{shards} shard{'s'[: shards - 1]}": [
                    (each.workers, each.calls_per_s) for each in figures.by_workers if each.shards == shards
                ]
                for shards in sorted({each.shards for each in figures.by_workers})
            },
        ),
        "latency-by-rate": chart(
            "Latency by offered rate, up to the knee",
            Axis("calls/s offered"),
            Axis("ms", powers=True),
            _latencies([(each.rate, each) for each in figures.by_rate]),
        ),
        "calls-by-pending": chart(
            "Complete calls a second, by pending invites",
            Axis("other invites pending", powers=True),
            Axis("calls/s"),
            {"one worker": [(each.pending, each.calls_per_s) for each in figures.speed_by_pending]},
        ),
        "latency-by-pending": chart(
            "Latency by pending invites",
            Axis("other invites pending", powers=True),
            Axis("ms", powers=True),
            _latencies([(each.pending, each) for each in figures.latency_by_pending]),
        ),
    }
    paths = []
    for name, plot in plots.items():
        paths.append(folder / f"{name}.svg")
        paths[-1].write_text(plot, encoding="utf-8")
    return paths


def _latencies(measured: list[tuple[float, Latency]]) -> dict[str, list[tuple[float, float]]]:
    return {
        "invite, p50": [(at, each.invite_p50_ms) for at, each in measured],
        "invite, p99": [(at, each.invite_p99_ms) for at, each in measured],
        "accept, p50": [(at, each.accept_p50_ms) for at, each in measured],
        "accept, p99": [(at, each.accept_p99_ms) for at, each in measured],
    }


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
    with open_arena(plan.url) as arena:
        ceiling = Ceiling(arena, plan.settings)
        arena.make_groups()
        for pending in plan.pending:
            tell(f"making {pending - made:,} more pending invites")
            ceiling.make_pending(Load(pending - made, _DEVICES, 1, name=f"waiting-{pending}-"))
            made = pending
            load = Load(plan.calls, _DEVICES, 1, name=f"busy-{pending}-")
            run = settle_backlog_in(arena, ceiling, load, plan.rules)
            arena.empty_streams()
            speeds.append(Speed(1, 1, pending, round(plan.calls / run.seconds, 1)))
            tell(f"{pending:,} pending: {speeds[-1].calls_per_s:,.0f} calls/s")
            timed = _timed(plan, plan.rate, pending)
            try:
                latencies.append(latency.measure_in(arena, ceiling, timed, tell, name=f"timed-{pending}-"))
            except latency.NotReachedError as error:
                if not latencies:
                    raise
                tell(f"Left out with {pending:,} pending: {error}")
            arena.empty_streams()
    return speeds, latencies
