"""python -m tests.chaos [--seconds 60] [--workers 3] [--server-every 15] [--seed N]: status 1 if anything is wrong."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time

from tests.chaos.driver import play


def main() -> int:
    """Play, tell, and say what was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument(
        "--seconds", type=float, default=60.0, help="how long to harm them (default: %(default)s)"
    )
    parser.add_argument("--workers", type=int, default=3, help="worker processes (default: %(default)s)")
    parser.add_argument(
        "--server-every",
        type=float,
        default=15.0,
        help="kill the server so often, s; 0: never (default: %(default)s)",
    )
    parser.add_argument(
        "--seed", type=int, default=time.time_ns() % 1_000_000, help="to play the same plan again"
    )
    asked = parser.parse_args()
    print(f"seed {asked.seed}")
    result = asyncio.run(
        play(
            seconds=asked.seconds,
            workers=asked.workers,
            server_every_s=asked.server_every,
            seed=asked.seed,
            tell=lambda words: print(f"  {words}", flush=True),
        )
    )
    print(result.words())
    for fault in result.faults[:50]:
        print(f"  {fault}")
    return 1 if result.faults else 0


sys.exit(main())
