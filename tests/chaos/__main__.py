"""Play calls while workers and servers are harmed. Status 1 if anything is wrong."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time

from tests.chaos.driver import HEADINGS, play
from tests.chaos.places import PLACES


def main() -> int:
    """Play, tell, and say what was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument(
        "--place",
        choices=[*PLACES, "all"],
        default="single",
        help="what is harmed: one server, the primary that sentinels watch, a primary of a cluster, or nothing, but "
        "the shard moves from node to node of a cluster, by its keys or as one; or all of these, one after the "
        "other, with one table at the end (default: %(default)s)",
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=60.0,
        help="how long to harm them, all together (default: %(default)s)",
    )
    parser.add_argument("--workers", type=int, default=3, help="worker processes (default: %(default)s)")
    parser.add_argument("--shards", type=int, default=1, help="shards (default: %(default)s)")
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
    places = list(PLACES) if asked.place == "all" else [asked.place]
    results = {}
    for place in places:
        print(f"{place}, seed {asked.seed}", flush=True)
        results[place] = asyncio.run(
            play(
                place,
                seconds=asked.seconds / len(places),
                workers=asked.workers,
                server_every_s=asked.server_every,
                seed=asked.seed,
                shards=asked.shards,
                tell=lambda words: print(f"  {words}", flush=True),
            )
        )
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
