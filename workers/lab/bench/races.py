"""`invites bench races`: calls that are accepted just when something else ends them, while workers die."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

import msgspec

from workers.lab.bench.arena import open_arena
from workers.lab.bench.course import Fault, Wrong
from workers.lab.bench.fleet import open_fleet
from workers.lab.bench.match import GATEWAY, Match

# What a killed worker had is taken up after a second, and is no dead letter however many of them die with it; ended
# invites do not fill the server.
_RULES: Final = {
    "claimAfter": 1_000,
    "maxDeliveries": 1_000,
    "retainAfter": 20_000,
    "basic": {"removeAfter": 0},
}


class Races(msgspec.Struct, frozen=True):
    """The result: what was tried, and how often what must never happen has happened."""

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
    """The result, all faults in words, and by rival how many trials there were and in how many the accept was first."""

    races: Races
    faults: list[Fault]
    rivals: dict[str, tuple[int, int]]


class Plan(msgspec.Struct, frozen=True):
    """How many trials on how many workers, where (None: on a server of our own), under which rules."""

    trials: int
    workers: int
    url: str | None
    rules: dict[str, Any]


def measure(plan: Plan, tell: Callable[[str], None]) -> Report:
    """Play all trials, and judge each. Raises `BenchError` when the workers do not get on with them."""
    with open_arena(plan.url) as arena:
        arena.make_groups(counted=False)
        arena.command("XGROUP", "CREATE", arena.keys.notifications, GATEWAY, "0", "MKSTREAM")
        with open_fleet(arena, plan.workers, {**plan.rules, **_RULES}) as fleet:
            began = time.monotonic()
            match = Match(arena, fleet, plan.trials)
            match.play(tell)
            seconds = time.monotonic() - began
        if dead := arena.command("XLEN", arena.keys.dead):
            match.faults.append(Fault(Wrong.OTHER, f"{dead} events are dead letters"))
    wrong = Counter(fault.wrong for fault in match.faults)
    races = Races(
        trials=match.judged,
        workers=plan.workers,
        kills=match.kills,
        double_winners=wrong[Wrong.DOUBLE_WINNER],
        lost_cancels=wrong[Wrong.LOST_CANCEL],
        ghost_rings=wrong[Wrong.GHOST_RING],
        missing_records=wrong[Wrong.MISSING_RECORD],
        duplicate_notifications=wrong[Wrong.DUPLICATE],
        seconds=round(seconds, 2),
    )
    rivals = {rival: (tried, match.accepted[rival]) for rival, tried in sorted(match.tried.items())}
    return Report(races, match.faults, rivals)
