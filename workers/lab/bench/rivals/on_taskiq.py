"""taskiq with taskiq-redis: jobs in a stream, read by a consumer group."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from taskiq.api import run_receiver_task
from taskiq_redis import RedisStreamBroker

from workers.lab.bench.rivals.pages import repeat

_AT_ONCE: Final = 100
_READ: Final = 1000  # each read is followed by a search for abandoned jobs, under a lock


async def _broker(url: str, name: str, noop: Callable[[], Any]) -> RedisStreamBroker:
    broker = RedisStreamBroker(
        url, queue_name=name, consumer_group_name=name, consumer_id="0", xread_count=_READ
    )
    broker.register_task(noop, task_name="noop")
    await broker.startup()
    return broker


async def enqueue(url: str, name: str, jobs: int) -> None:
    """Make the backlog."""
    broker = await _broker(url, name, lambda: None)
    await repeat(jobs, broker.find_task("noop").kiq)
    await broker.shutdown()


async def work(url: str, name: str, job: Callable[[], None]) -> None:
    """Run one worker."""

    async def noop() -> None:
        job()

    broker = await _broker(url, name, noop)
    await run_receiver_task(broker, max_async_tasks=_AT_ONCE, max_prefetch=_READ, validate_params=False)
