"""python -m workers.bench.rivals MODULE URL NAME JOBS: prints as JSON how long one worker took for the backlog."""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
import sys
import time

import uvloop


class Tally:
    """The job: counts itself. Timed from the first to the last."""

    def __init__(self, jobs: int) -> None:
        self.done = asyncio.Event()
        self.seconds = 0.0
        self._jobs = jobs
        self._began = 0.0

    def __call__(self) -> None:
        """One job is done."""
        if not self._began:
            self._began = time.perf_counter()
        self._jobs -= 1
        if self._jobs == 0:
            self.seconds = time.perf_counter() - self._began
            self.done.set()


async def _play(module: str, url: str, name: str, jobs: int) -> None:
    rival = importlib.import_module(module)
    await rival.enqueue(url, name, jobs)
    tally = Tally(jobs)
    working = asyncio.ensure_future(rival.work(url, name, tally))
    done = asyncio.ensure_future(tally.done.wait())
    await asyncio.wait([working, done], return_when=asyncio.FIRST_COMPLETED)
    if not done.done():
        working.result()
        sys.exit("It has ended before its jobs.")
    sys.stdout.write(f'\n{{"seconds":{tally.seconds}}}\n')
    sys.stdout.flush()
    # How well another worker ends is not measured here, and some take their time.
    os._exit(0)


def main() -> None:
    """Play one rival, and end the process."""
    logging.basicConfig(level=logging.ERROR)
    module, url, name, jobs = sys.argv[1:]
    uvloop.run(_play(module, url, name, int(jobs)))


main()
