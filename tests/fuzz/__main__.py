"""Give a worker process generated input of every kind. Status 1 if it stops, or an entry gets lost.

python -m tests.fuzz
"""

from __future__ import annotations

import argparse
import sys
import time

from tests.fuzz.run import play
from tests.support.servers import binaries
from workers.lab.embedded import EmbeddedValkey


def main() -> int:
    """Play, and print the counts."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000, help="how many (default: %(default)s)")
    parser.add_argument(
        "--seed", type=int, default=time.time_ns() % 1_000_000, help="to generate the same again"
    )
    asked = parser.parse_args()
    print(f"seed {asked.seed}", flush=True)
    began = time.monotonic()
    with EmbeddedValkey(binary=binaries.SERVER) as server:
        try:
            done = play(server.url, asked.inputs, asked.seed, lambda words: print(f"  {words}", flush=True))
        except AssertionError as error:
            print(f"wrong: {error}")
            return 1
    for kind, count in done.given.items():
        print(f"{kind:16}{count:10,}")
    early, late = done.memory[len(done.memory) // 4] / 2**20, done.memory[-1] / 2**20
    print(f"{done.letters:,} dead letters of events; the worker took {early:.0f} MiB, then {late:.0f} MiB.")
    print(f"{sum(done.given.values()):,} inputs in {time.monotonic() - began:.0f} s: all is well.")
    return 0


sys.exit(main())
