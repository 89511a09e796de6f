"""Worker processes, and what happens to them."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import signal
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Final, Self

from tests.support.memory import memory_of
from tests.support.servers.node import HOST, free_port
from tests.support.waiting import wait_until_sync
from workers.lab.worker_process import start_worker

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    from workers.lab.child_process import ChildProcess

CLAIM_AFTER_MS: Final = 1_000
_STILL_S: Final = 2.0  # longer than calls with a short deadline still have
_ANSWER_S: Final = 2.0
# A worker knows within 6 s that nothing is read or committed (workers/telemetry/readiness.py). The rest is for asking.
_UNREADY_S: Final = 9.0
_FROZEN_S: Final = 2.0  # longer than `claimAfter`: others have claimed its entries


class Fleet:
    """Workers, each of which is replaced as soon as it ends.

    `invites` adds to their configuration; the harm is drawn from `kinds`. `unready_s` is the longest time until
    none of them reported that it was ready, `faults` are their wrong reports.
    """

    def __init__(
        self,
        urls: str | Sequence[str],
        count: int,
        seed: int,
        invites: Mapping[str, object] | None = None,
        kinds: Sequence[str] = ("kill", "kill", "freeze", "stop", "stand still"),
        shards: int = 1,
    ) -> None:
        self.harm: dict[str, int] = dict.fromkeys(kinds, 0)
        self.faults: list[str] = []
        self.unready_s = 0.0
        self._configuration: dict[str, object] = {
            "invites": {"claimAfter": CLAIM_AFTER_MS, **(invites or {})},
            "redis": {"shards": shards},
        }
        self._kinds = kinds
        self._urls = itertools.cycle([urls] if isinstance(urls, str) else urls)
        self._ports: dict[int, int] = {}
        self._count = count
        self._random = random.Random(seed)
        self._workers: list[ChildProcess] = []
        self._frozen: list[tuple[float, ChildProcess]] = []

    def harm_one(self, kind: str = "") -> str:
        """Kill, freeze or stop a worker, or freeze all for a while, as given or drawn; returns which."""
        kind = kind or self._random.choice(self._kinds)
        if kind == "stand still":
            self.harm[kind] += 1
            self.pause()
            time.sleep(_STILL_S)
            self.go_on()
            return f"{kind} with"
        victim = self._workers.pop(self._random.randrange(len(self._workers)))
        assert victim.running(), f"a worker has ended by itself: {victim.output()}"
        self.harm[kind] += 1
        if kind == "kill":
            victim.stop()
        elif kind == "freeze":
            os.kill(victim.pid, signal.SIGSTOP)
            self._frozen.append((time.monotonic() + _FROZEN_S, victim))
        else:
            os.kill(victim.pid, signal.SIGTERM)
            self._frozen.append((0.0, victim))
        self._workers.append(self._start())
        return kind

    def thaw(self, *, all_: bool = False) -> None:
        """Thaw the workers that have been frozen for long enough, and stop them in order."""
        now = time.monotonic()
        for until, worker in self._frozen[:]:
            if all_ or until <= now:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(worker.pid, signal.SIGCONT)
                if until + _FROZEN_S <= now or all_:
                    self._frozen.remove((until, worker))
                    worker.terminate()

    def replace(self, shards: int) -> list[ChildProcess]:
        """Start as many workers, configured with this number of shards; returns the former ones, which keep running."""
        self._configuration["redis"] = {"shards": shards}
        former, self._workers = self._workers, [self._start() for _ in self._workers]
        return former

    def memory(self) -> int:
        """What the largest worker has in memory, bytes; 0 where there is no /proc."""
        return max(memory_of(worker.pid) for worker in self._workers)

    def ready(self) -> int:
        """How many workers say that they are ready."""
        return sum(_is_ready(self._ports[worker.pid]) for worker in self._workers)

    def all_ready(self) -> bool:
        """Whether all do."""
        return self.ready() == len(self._workers)

    def expect_unready(self) -> None:
        """A shard is unreachable. Wait until no worker reports that it is ready."""
        began = time.monotonic()
        try:
            wait_until_sync(lambda: not self.ready(), "no worker is ready", _UNREADY_S)
        except AssertionError:
            self.faults.append(f"{self.ready()} workers say that they are ready, while a shard is away")
        self.unready_s = max(self.unready_s, time.monotonic() - began)

    def pause(self) -> None:
        """Freeze all workers."""
        for worker in self._workers:
            os.kill(worker.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """Thaw all workers."""
        for worker in self._workers:
            os.kill(worker.pid, signal.SIGCONT)

    def __enter__(self) -> Self:
        self._workers = [self._start() for _ in range(self._count)]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.thaw(all_=True)
        for worker in self._workers:
            worker.stop()

    def _start(self) -> ChildProcess:
        port = free_port()
        worker = start_worker(next(self._urls), {**self._configuration, "http": {"port": port}})
        self._ports[worker.pid] = port
        return worker


def _is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://{HOST}:{port}/readyz", timeout=_ANSWER_S) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
