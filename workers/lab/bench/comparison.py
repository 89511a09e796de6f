"""`invites bench peers`: compares our events with no-op jobs of other Python workers over Redis."""

from __future__ import annotations

import contextlib
import statistics
import sys
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

import msgspec

from invites.store.settings import Settings
from workers.lab.bench.extra import require
from workers.lab.bench.load import EVENTS_PER_CALL, Load
from workers.lab.bench.target import BenchError, open_target
from workers.lab.bench.throughput import settle_backlog
from workers.lab.child_process import ChildProcess
from workers.lab.embedded import EmbeddedValkey

_PATIENCE_MS: Final = 120_000


class Rival(NamedTuple):
    """Another worker: the package that it needs, and the module that runs it."""

    package: str
    module: str


RIVALS: Final = {
    "arq": Rival("arq", "workers.lab.bench.rivals.on_arq"),
    "saq": Rival("saq", "workers.lab.bench.rivals.on_saq"),
    "taskiq": Rival("taskiq_redis", "workers.lab.bench.rivals.on_taskiq"),
    "streaq": Rival("streaq", "workers.lab.bench.rivals.on_streaq"),
    "faststream": Rival("faststream", "workers.lab.bench.rivals.on_faststream"),
}


class Comparison(msgspec.Struct, frozen=True):
    """The result, as medians of the rounds: our calls and events a second, and each rival's jobs a second.

    The ratio compares our events with the jobs of the fastest rival.
    """

    calls_per_s: float
    events_per_s: float
    rivals: dict[str, float] = msgspec.field(name="peers")
    ratio_to_best: float


class Plan(msgspec.Struct, frozen=True):
    """Our calls and the rivals' jobs in each round, one worker each; the rest as in `throughput.Plan`."""

    calls: int
    jobs: int
    rounds: int
    url: str | None
    rules: dict[str, Any]
    settings: Settings


def measure(plan: Plan, tell: Callable[[str], None]) -> Comparison:
    """Run all in turn, round by round, each on an empty server.

    Raises `BenchError` when a package is missing or there is no valid result.
    """
    require(rival.package for rival in RIVALS.values())
    load = Load(plan.calls, devices=3, workers=1)
    ours: list[float] = []
    theirs: dict[str, list[float]] = {name: [] for name in RIVALS}
    for number in range(1, plan.rounds + 1):
        with _server(plan.url) as url:
            ours.append(plan.calls / settle_backlog(load, url, plan.rules, plan.settings).seconds)
        tell(f"round {number}: {ours[-1]:,.0f} calls/s")
        for name, rival in RIVALS.items():
            theirs[name].append(plan.jobs / _play(name, rival, plan))
            tell(f"round {number}: {name} {theirs[name][-1]:,.0f} jobs/s")
    calls_per_s = statistics.median(ours)
    rivals = {name: round(statistics.median(rates), 1) for name, rates in theirs.items()}
    events_per_s = calls_per_s * EVENTS_PER_CALL
    return Comparison(
        round(calls_per_s, 1), round(events_per_s, 1), rivals, round(events_per_s / max(rivals.values()), 2)
    )


@contextlib.contextmanager
def _server(url: str | None) -> Iterator[str]:
    """The server at `url`, or an embedded one by its TCP port: not all rivals can use a socket."""
    if url is not None:
        yield url
        return
    with EmbeddedValkey() as server:
        yield server.url


def _play(name: str, rival: Rival, plan: Plan) -> float:
    """The seconds that the rival took for its backlog."""
    with _server(plan.url) as url, open_target(url) as target:
        command = [
            sys.executable,
            "-m",
            "workers.lab.bench.rivals",
            rival.module,
            target.url,
            target.prefix,
            str(plan.jobs),
        ]
        with ChildProcess(command) as process:
            status = process.wait(_PATIENCE_MS)
            said = process.output()
    if status is None:
        raise BenchError(
            f"{name} did not finish its {plan.jobs} jobs within {_PATIENCE_MS // 1000} s. {said}".strip()
        )
    if status != 0:
        raise BenchError(f"{name} ended with status {status}: {said or 'it printed nothing'}")
    return float(msgspec.json.decode(said.splitlines()[-1])["seconds"])
