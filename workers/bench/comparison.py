"""`invites bench peers`: our events against jobs that do nothing, on other Python workers over Redis."""

from __future__ import annotations

import importlib.util
import statistics
import sys
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import msgspec

from invites.commit import Settings
from invites.guarded import GuardedProcess
from workers.bench.arena import BenchError, open_arena
from workers.bench.load import EVENTS_PER_CALL, Load
from workers.bench.throughput import settle_backlog

_PATIENCE_MS: Final = 120_000


class Peer(NamedTuple):
    """Another worker: the package that it needs, and the module that plays it."""

    package: str
    module: str


PEERS: Final = {
    "arq": Peer("arq", "workers.bench.peers.on_arq"),
    "saq": Peer("saq", "workers.bench.peers.on_saq"),
    "taskiq": Peer("taskiq_redis", "workers.bench.peers.on_taskiq"),
    "streaq": Peer("streaq", "workers.bench.peers.on_streaq"),
    "faststream": Peer("faststream", "workers.bench.peers.on_faststream"),
}


class Comparison(msgspec.Struct, frozen=True):
    """The result, medians of the rounds: our calls and events a second, and the jobs a second of each peer.

    The ratio is that of our events to the jobs of the best of them.
    """

    calls_per_s: float
    events_per_s: float
    peers: dict[str, float]
    ratio_to_best: float


class Plan(msgspec.Struct, frozen=True):
    """So many calls of ours and jobs of theirs in each round, one worker each; the rest as in `throughput.Plan`."""

    calls: int
    jobs: int
    rounds: int
    url: str | None
    rules: dict[str, Any]
    settings: Settings


def measure(plan: Plan, tell: Callable[[str], None]) -> Comparison:
    """Run all in turn, round by round, each on an emptied server.

    Raises `BenchError` when a package is missing, or there is no valid result.
    """
    missing = [name for name, peer in PEERS.items() if importlib.util.find_spec(peer.package) is None]
    if missing:
        raise BenchError(
            f"Not installed: {', '.join(missing)}. Install the peers with: pip install 'invites-worker[bench]'"
        )
    load = Load(plan.calls, devices=3, workers=1)
    ours: list[float] = []
    theirs: dict[str, list[float]] = {name: [] for name in PEERS}
    for number in range(1, plan.rounds + 1):
        ours.append(plan.calls / settle_backlog(load, plan.url, plan.rules, plan.settings).seconds)
        tell(f"round {number}: {ours[-1]:,.0f} calls/s")
        for name, peer in PEERS.items():
            theirs[name].append(plan.jobs / _play(name, peer, plan))
            tell(f"round {number}: {name} {theirs[name][-1]:,.0f} jobs/s")
    calls_per_s = statistics.median(ours)
    peers = {name: round(statistics.median(rates), 1) for name, rates in theirs.items()}
    events_per_s = calls_per_s * EVENTS_PER_CALL
    return Comparison(
        round(calls_per_s, 1), round(events_per_s, 1), peers, round(events_per_s / max(peers.values()), 2)
    )


def _play(name: str, peer: Peer, plan: Plan) -> float:
    """How long the peer took for its backlog, s."""
    with open_arena(plan.url) as arena:
        command = [
            sys.executable,
            "-m",
            "workers.bench.peers",
            peer.module,
            arena.url,
            arena.prefix,
            str(plan.jobs),
        ]
        with GuardedProcess(command) as process:
            status = process.wait(_PATIENCE_MS)
            said = process.output()
    if status is None:
        raise BenchError(
            f"{name} has not done its {plan.jobs} jobs within {_PATIENCE_MS // 1000} s. {said}".strip()
        )
    if status != 0:
        raise BenchError(f"{name} ended with status {status}: {said or 'it said nothing'}")
    return float(msgspec.json.decode(said.splitlines()[-1])["seconds"])
