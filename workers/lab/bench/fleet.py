"""The measured worker processes."""

from __future__ import annotations

import random
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from workers.lab.bench.load import RING_MS
from workers.lab.bench.target import BenchError, Target
from workers.lab.child_process import ChildProcess
from workers.lab.worker_process import start_worker

STUCK_S: Final = 30.0
"""The longest time without progress."""

_POLL_S: Final = 0.002


class Fleet:
    """Running workers."""

    def __init__(self, count: int, start: Callable[[], ChildProcess]) -> None:
        self._start = start
        self._workers = [start() for _ in range(count)]

    def kill_one(self) -> None:
        """Kill a random worker (SIGKILL) and start another one."""
        number = random.randrange(len(self._workers))
        self._workers[number].stop()
        self._workers[number] = self._start()

    def end(self) -> None:
        """Stop all workers."""
        for worker in self._workers:
            worker.terminate()

    def check(self) -> None:
        """Raise `BenchError` if a worker has ended."""
        for worker in self._workers:
            status = worker.wait(0)
            if status is not None:
                raise BenchError(
                    f"A worker ended with status {status}: {worker.output() or 'it printed nothing'}"
                )

    def words(self) -> str:
        """The workers' logs."""
        return "\n".join(filter(None, (worker.output() for worker in self._workers)))

    def cpu_s(self) -> float:
        """The processor time of all workers so far, s."""
        return sum(cpu_s(worker.pid) for worker in self._workers)


def await_first_commit(target: Target, fleet: Fleet) -> float:
    """When the first commit began, s since 1970. Raises `BenchError` if no worker commits in time."""
    deadline = time.monotonic() + STUCK_S
    while (began := target.first_commit()) is None:
        fleet.check()
        if time.monotonic() > deadline:
            raise BenchError(f"The workers committed nothing within {STUCK_S:.0f} s. {fleet.words()}".strip())
        time.sleep(_POLL_S)
    return began


@contextmanager
def open_fleet(target: Target, count: int, rules: Mapping[str, Any]) -> Iterator[Fleet]:
    """Run `count` workers on the target during the context, with `rules` as `invites` in their configuration."""
    configuration = {
        "invites": {**rules, "ringTimeout": RING_MS, "maxRingTimeout": RING_MS},
        "redis": {"prefix": target.prefix, "shards": len(target.shards)},
    }
    fleet = Fleet(count, lambda: start_worker(target.url, configuration))
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
    ticks_per_s = 100  # USER_HZ: the kernel reports in this unit on every architecture
    return (int(fields[11]) + int(fields[12])) / ticks_per_s


def parse_ps_time(text: str) -> float:
    """Seconds from the output of ps: `[[days-]hours:]minutes:seconds[.hundredths]`."""
    days, _, clock = text.strip().rpartition("-")
    seconds = 0.0
    for part in clock.split(":"):
        seconds = seconds * 60 + float(part)
    return int(days or 0) * 86_400 + seconds
