"""The worker processes that are measured."""

from __future__ import annotations

import random
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from workers.lab.bench.arena import Arena, BenchError
from workers.lab.bench.load import RING_MS
from workers.lab.child_process import ChildProcess
from workers.lab.worker_process import start_worker

STUCK_S: Final = 30.0
"""So long the workers may be without any progress."""

_POLL_S: Final = 0.002


class Fleet:
    """Running workers."""

    def __init__(self, count: int, start: Callable[[], ChildProcess]) -> None:
        self._start = start
        self._workers = [start() for _ in range(count)]

    def kill_one(self) -> None:
        """Kill a worker (SIGKILL) at whatever it is just doing, and start another one in its place."""
        number = random.randrange(len(self._workers))
        self._workers[number].stop()
        self._workers[number] = self._start()

    def end(self) -> None:
        """End all of them in order."""
        for worker in self._workers:
            worker.terminate()

    def check(self) -> None:
        """Raise `BenchError` if one of them has ended."""
        for worker in self._workers:
            status = worker.wait(0)
            if status is not None:
                raise BenchError(
                    f"A worker ended with status {status}: {worker.output() or 'it said nothing'}"
                )

    def words(self) -> str:
        """What they have logged."""
        return "\n".join(filter(None, (worker.output() for worker in self._workers)))

    def cpu_s(self) -> float:
        """The processor time that all of them together have used so far, s."""
        return sum(cpu_s(worker.pid) for worker in self._workers)


def await_first_commit(arena: Arena, fleet: Fleet) -> float:
    """When the first commit began, s since 1970. Raises `BenchError` when there is none in time."""
    deadline = time.monotonic() + STUCK_S
    while (began := arena.first_commit()) is None:
        fleet.check()
        if time.monotonic() > deadline:
            raise BenchError(f"The workers committed nothing within {STUCK_S:.0f} s. {fleet.words()}".strip())
        time.sleep(_POLL_S)
    return began


@contextmanager
def open_fleet(arena: Arena, count: int, rules: Mapping[str, Any]) -> Iterator[Fleet]:
    """Start `count` workers on the server of the benchmark, with `rules` as `invites` in their configuration.

    They end with the context.
    """
    configuration = {
        "invites": {**rules, "ringTimeout": RING_MS, "maxRingTimeout": RING_MS},
        "redis": {"prefix": arena.prefix, "shards": len(arena.shards)},
    }
    fleet = Fleet(count, lambda: start_worker(arena.url, configuration))
    try:
        yield fleet
    finally:
        fleet.end()


def cpu_s(pid: int) -> float:
    """The processor time of a running process, user and system, in s."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        command = ["/bin/ps", "-o", "time=", "-p", str(pid)]
        return parse_ps_time(subprocess.check_output(command, text=True))  # noqa: S603 - the command is ours
    ticks_per_s = 100  # USER_HZ: what the kernel shows to user space is in this unit on every architecture
    return (int(fields[11]) + int(fields[12])) / ticks_per_s


def parse_ps_time(text: str) -> float:
    """Seconds from what ps prints: `[[days-]hours:]minutes:seconds[.hundredths]`."""
    days, _, clock = text.strip().rpartition("-")
    seconds = 0.0
    for part in clock.split(":"):
        seconds = seconds * 60 + float(part)
    return int(days or 0) * 86_400 + seconds
