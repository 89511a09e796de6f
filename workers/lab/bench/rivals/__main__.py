"""python -m workers.lab.bench.rivals MODULE URL NAME JOBS: prints as JSON the seconds that one worker took."""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
import sys
import time

import uvloop


class Tally:
    """The job: counts its calls and times them from the first to the last."""

    def __init__(self, jobs: int) -> None:
        self.done = asyncio.Event()
        self.seconds = 0.0
        self._jobs = jobs
        self._began = 0.0

    def __call__(self) -> None:
        """Count one job."""
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
        sys.exit("The worker ended before its jobs were done.")
    sys.stdout.write(f'\n{{"seconds":{tally.seconds}}}\n')
    sys.stdout.flush()
    # Stopping is not measured, and some workers are slow to stop.
    os._exit(0)


def main() -> None:
    """Run one rival and end the process."""
    logging.basicConfig(level=logging.ERROR)
    module, url, name, jobs = sys.argv[1:]
    uvloop.run(_play(module, url, name, int(jobs)))


main()
