"""arq: jobs in a sorted set, which it polls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from arq import create_pool, func
from arq.connections import RedisSettings
from arq.worker import Worker

from workers.lab.bench.rivals.pages import repeat

_AT_ONCE: Final = 50
_READ: Final = 500
_POLL_S: Final = 0.01  # the default of 0.5 s would dominate the result


async def enqueue(url: str, name: str, jobs: int) -> None:
    """Make the backlog."""
    pool = await create_pool(RedisSettings.from_dsn(url), default_queue_name=name)
    await repeat(jobs, lambda: pool.enqueue_job("noop"))
    await pool.aclose()


async def work(url: str, name: str, job: Callable[[], None]) -> None:
    """Run one worker."""

    async def noop(_context: dict[str, Any]) -> None:
        job()

    worker = Worker(
        [func(noop, name="noop", keep_result=0)],
        queue_name=name,
        redis_settings=RedisSettings.from_dsn(url),
        max_jobs=_AT_ONCE,
        queue_read_limit=_READ,
        poll_delay=_POLL_S,
        keep_result=0,
        log_results=False,
        handle_signals=False,
    )
    await worker.async_run()
