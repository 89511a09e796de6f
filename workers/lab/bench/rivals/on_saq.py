"""saq: jobs in lists; each of its coroutines takes one at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from saq import Job, Queue, Worker

from workers.lab.bench.rivals.pages import repeat

_AT_ONCE: Final = 20
_NO_RESULT: Final = -1


async def enqueue(url: str, name: str, jobs: int) -> None:
    """Make the backlog."""
    queue = Queue.from_url(url, name=name)
    await queue.connect()
    await repeat(jobs, lambda: queue.enqueue(Job("noop", ttl=_NO_RESULT)))
    await queue.disconnect()


async def work(url: str, name: str, job: Callable[[], None]) -> None:
    """Run one worker."""

    async def noop(_context: dict[str, Any]) -> None:
        job()

    queue = Queue.from_url(url, name=name)
    await queue.connect()
    await Worker(queue, [("noop", noop)], concurrency=_AT_ONCE).start()
