"""Play calls while workers and servers are harmed. Status 1 if anything is wrong."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from typing import Final

from tests.chaos.driver import HEADINGS, Result, play
from tests.chaos.failing_reach import play_groups
from tests.chaos.places import PLACES
from tests.support.servers import clock

GROUPS: Final = "cluster-groups"
CLOCK: Final = "clock"
_ROUND_S: Final = 8.0


async def _play(place: str, asked: argparse.Namespace, seconds: float) -> Result:
    def tell(words: str) -> None:
        print(f"  {words}", flush=True)

    if place == GROUPS:
        rounds = max(1, int(seconds / _ROUND_S))
        return await play_groups(
            "cluster", rounds=rounds, harmed=rounds, workers=asked.workers, seed=asked.seed, tell=tell
        )
    return await play(
        place,
        seconds=seconds,
        workers=asked.workers,
        server_every_s=min(asked.server_every, seconds / 3),
        seed=asked.seed,
        shards=asked.shards or _shards(place),
        tell=tell,
    )


def _shards(place: str) -> int:
    return 3 if place.startswith("cluster") else 2 if place == "network" else 1


def main() -> int:
    """Play, report, and print the faults."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument(
        "--place",
        choices=[*PLACES, GROUPS, "all"],
        default="single",
        help="where it is played and what is harmed (see tests/README.md), or all of these one after the other, with "
        "one table at the end (default: %(default)s)",
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=60.0,
        help="how long to harm them, all together (default: %(default)s)",
    )
    parser.add_argument("--workers", type=int, default=3, help="worker processes (default: %(default)s)")
    parser.add_argument(
        "--shards", type=int, help="shards (default: 3 in a cluster, 2 behind a network, else 1)"
    )
    parser.add_argument(
        "--server-every",
        type=float,
        default=15.0,
        help="harm the servers so often, s; 0: never (default: %(default)s)",
    )
    parser.add_argument(
        "--seed", type=int, default=time.time_ns() % 1_000_000, help="to play the same plan again"
    )
    asked = parser.parse_args()
    places = [*PLACES, GROUPS] if asked.place == "all" else [asked.place]
    results = {}
    if CLOCK in places and clock.library() is None:
        print(f"{CLOCK} is left out: {clock.MISSING}", flush=True)
        places.remove(CLOCK)
    for place in places:
        print(f"{place}, seed {asked.seed}", flush=True)
        results[place] = asyncio.run(_play(place, asked, asked.seconds / len(places)))
        print(results[place].words())
        for fault in results[place].faults[:50]:
            print(f"  {fault}")
    if len(results) > 1:
        first, second = HEADINGS.split("\n")
        print(f"\n{'place':18}{first}\n{'':18}{second}")
        for place, result in results.items():
            print(f"{place:18}{result.row()}")
    return 1 if any(result.faults for result in results.values()) else 0


sys.exit(main())
