"""Where a worker spends its processor time on a complete call: for each function its share, and what one call costs.

    python -m tests.worker_profile [--calls N] [--shards N] [--top N]

A worker settles the backlog of `invites bench throughput` in this process. A timer of the processor time that it takes
interrupts it (every 4 ms on most systems), and notes which functions it is in. So the shares are those of a worker that
nothing slows down, but they need some 20,000 calls to become stable. `own` excludes the functions that a function
calls. Calls inside uvloop and C count for the Python function around them: `Runner.run` has the system calls.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import msgspec
import uvloop

from invites.config.sections import Config, Redis
from invites.store.settings import Settings
from tests.support.waiting import wait_until
from tests.support.worker import configured
from workers.aio.gc import freeze_gc
from workers.lab.bench.baseline import Baseline
from workers.lab.bench.load import RING_MS, Load
from workers.lab.bench.target import Target, open_target
from workers.service import Service

if TYPE_CHECKING:
    from types import FrameType

_EVERY_S: Final = 0.001
_POLL_S: Final = 0.05
_PATIENCE_S: Final = 600.0


class Profile:
    """Counts in which functions this process is."""

    def __init__(self) -> None:
        self.own: Counter[str] = Counter()
        self.with_callees: Counter[str] = Counter()

    def note(self, _: int, frame: FrameType | None) -> None:
        """Take a sample, as the handler of a signal."""
        names = []
        while frame is not None:
            code = frame.f_code
            names.append(f"{code.co_qualname}  ({'/'.join(code.co_filename.split('/')[-3:])})")
            frame = frame.f_back
        self.own[names[0]] += 1
        self.with_callees.update(set(names))


async def _settle(target: Target, config: Config, events: int, profile: Profile) -> float:
    """The processor time (s) that a worker takes to settle the events."""
    service = Service(config, target.url)
    try:
        await service.start()
        freeze_gc()
        signal.signal(signal.SIGPROF, profile.note)
        signal.setitimer(signal.ITIMER_PROF, _EVERY_S, _EVERY_S)
        began = time.process_time()
        await wait_until(lambda: _is_settled(target, events), "all is settled", _PATIENCE_S)
        took = time.process_time() - began
        signal.setitimer(signal.ITIMER_PROF, 0)
        await service.drain()
    finally:
        await service.aclose()
    return took


async def _is_settled(target: Target, events: int) -> bool:
    await asyncio.sleep(_POLL_S)
    progress = target.progress()
    return progress.settled >= events and not progress.carrying


def _measure(calls: int, shards: int) -> tuple[float, Profile]:
    load, profile = Load(calls, 3, 1), Profile()
    with open_target(None, shards) as target:
        target.make_groups()
        Baseline(target, Settings()).register(load)
        target.publish(load.backlog())
        config: Any = configured(ring_timeout=RING_MS, max_ring_timeout=RING_MS, claim_after=3_000)
        config = msgspec.structs.replace(config, redis=Redis(prefix=target.prefix, shards=shards))
        events = target.progress().settled + load.events
        return uvloop.run(_settle(target, config, events, profile)), profile


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--calls", type=int, default=20_000)
    parser.add_argument("--shards", type=int, default=1)
    parser.add_argument("--top", type=int, default=40, help="how many functions to print")
    given = parser.parse_args()
    took, profile = _measure(given.calls, given.shards)
    samples, of_a_call = profile.own.total(), took / given.calls * 1e6
    write = sys.stdout.write
    write(f"{of_a_call:.1f} us of processor time for a complete call, {samples} samples\n")
    for words, counts in (("own", profile.own), ("with what it calls", profile.with_callees)):
        write(f"\n{words}\n")
        for name, count in counts.most_common(given.top):
            write(f"{count / samples:6.1%} {count / samples * of_a_call:6.2f} us  {name}\n")


if __name__ == "__main__":
    main()
