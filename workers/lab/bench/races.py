"""`invites bench races`: accepts that race against something else, while workers are killed."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

import msgspec

from workers.lab.bench.call_history import Fault, Wrong
from workers.lab.bench.fleet import open_fleet
from workers.lab.bench.race_runner import GATEWAY, RaceRunner
from workers.lab.bench.target import open_target

# Others claim a killed worker's entries after a second, and no number of deaths makes an entry a dead letter. Ended
# invites expire early, so that they do not fill the server.
_RULES: Final = {
    "claimAfter": 1_000,
    "maxDeliveries": 1_000,
    "retainAfter": 20_000,
    "basic": {"removeAfter": 0},
}


class Races(msgspec.Struct, frozen=True):
    """The result: the number of trials, and of the faults of each kind."""

    trials: int
    workers: int
    kills: int
    double_winners: int
    lost_cancels: int
    ghost_rings: int
    missing_records: int
    duplicate_notifications: int
    seconds: float


class Report(msgspec.Struct, frozen=True):
    """The result, all faults, and for each opponent the numbers of trials and of trials that the accept won."""

    races: Races
    faults: list[Fault]
    opponents: dict[str, tuple[int, int]]


class Plan(msgspec.Struct, frozen=True):
    """The numbers of trials and workers, the server (None: our own), and the rules."""

    trials: int
    workers: int
    url: str | None
    rules: dict[str, Any]


def measure(plan: Plan, tell: Callable[[str], None]) -> Report:
    """Run and judge all trials. Raises `BenchError` when the workers make no progress."""
    with open_target(plan.url) as target:
        target.make_groups(counted=False)
        target.command("XGROUP", "CREATE", target.keys.notifications, GATEWAY, "0", "MKSTREAM")
        with open_fleet(target, plan.workers, {**plan.rules, **_RULES}) as fleet:
            began = time.monotonic()
            runner = RaceRunner(target, fleet, plan.trials)
            runner.play(tell)
            seconds = time.monotonic() - began
        if dead := target.command("XLEN", target.keys.dead):
            runner.faults.append(Fault(Wrong.OTHER, f"{dead} events are dead letters"))
    wrong = Counter(fault.wrong for fault in runner.faults)
    races = Races(
        trials=runner.judged,
        workers=plan.workers,
        kills=runner.kills,
        double_winners=wrong[Wrong.DOUBLE_WINNER],
        lost_cancels=wrong[Wrong.LOST_CANCEL],
        ghost_rings=wrong[Wrong.GHOST_RING],
        missing_records=wrong[Wrong.MISSING_RECORD],
        duplicate_notifications=wrong[Wrong.DUPLICATE],
        seconds=round(seconds, 2),
    )
    opponents = {
        opponent: (tried, runner.accepted[opponent]) for opponent, tried in sorted(runner.tried.items())
    }
    return Report(races, runner.faults, opponents)
