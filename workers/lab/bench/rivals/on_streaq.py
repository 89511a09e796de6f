"""streaq: jobs in streams, with functions that it loads into the server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from streaq import Worker

_AT_ONCE: Final = 32
_PAGE: Final = 500


async def enqueue(url: str, name: str, jobs: int) -> None:
    """Make the backlog."""

    async def noop() -> None: ...

    worker, task = _worker(url, name, noop)
    async with worker:
        for first in range(0, jobs, _PAGE):
            await worker.enqueue_many([task.enqueue() for _ in range(min(_PAGE, jobs - first))])


async def work(url: str, name: str, job: Callable[[], None]) -> None:
    """Run one worker."""

    async def noop() -> None:
        job()

    worker, _ = _worker(url, name, noop)
    await worker.run_async()


def _worker(url: str, name: str, noop: Callable[[], Any]) -> tuple[Any, Any]:
    worker = Worker(
        redis_url=url, queue_name=name, concurrency=_AT_ONCE, prefetch=_AT_ONCE, handle_signals=False
    )
    return worker, worker.task(name="noop", silent=True, ttl=0)(noop)
