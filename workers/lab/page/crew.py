"""The workers of the page: each can be killed, and is started again."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from workers.lab.child_process import ChildProcess
    from workers.lab.page.feed import Feed

COUNT: Final = 2
_LOOK_S: Final = 0.2
_AGAIN_S: Final = 3.0


class Crew:
    """Worker processes. `run` starts those again that have ended."""

    def __init__(self, start: Callable[[], ChildProcess], feed: Feed) -> None:
        self._start = start
        self._feed = feed
        self._workers: list[ChildProcess] = []
        self._ended: dict[int, float] = {}

    def start(self) -> None:
        """Start all of them."""
        for _ in range(COUNT):
            self._workers.append(self._start())
        self._tell()

    async def run(self) -> None:
        """Watch them until cancelled."""
        while True:
            for number, worker in enumerate(self._workers):
                if worker.running():
                    continue
                now = time.monotonic()
                since = self._ended.setdefault(number, now)
                if since == now:
                    self._note(number, "workerEnded", worker)
                    self._tell()
                elif now - since > _AGAIN_S:
                    worker.stop()
                    self._workers[number] = self._start()
                    del self._ended[number]
                    self._note(number, "workerStarted", self._workers[number])
                    self._tell()
            await asyncio.sleep(_LOOK_S)

    async def kill(self, number: int) -> None:
        """Kill one (SIGKILL). Raises IndexError."""
        if number < 0:
            raise IndexError(number)
        await asyncio.to_thread(self._workers[number].stop)

    async def aclose(self) -> None:
        """Stop all of them."""
        await asyncio.gather(*(asyncio.to_thread(worker.terminate) for worker in self._workers))

    def _tell(self) -> None:
        self._feed.set(
            "workers",
            [
                {"pid": worker.pid, "runs": number not in self._ended}
                for number, worker in enumerate(self._workers)
            ],
        )

    def _note(self, number: int, kind: str, worker: ChildProcess) -> None:
        at = time.time_ns() // 1_000_000
        payload = {"worker": number + 1, "pid": worker.pid}
        self._feed.add(
            {"kind": "note", "id": f"note-{at}-{number}", "at": at, "type": kind, "payload": payload}
        )
