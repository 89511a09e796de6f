"""FastStream on a Redis stream, with a consumer group."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from faststream import FastStream
from faststream.redis import RedisBroker, StreamSub
from redis.asyncio import Redis

from workers.lab.bench.rivals.pages import repeat

_READ: Final = 1000
_POLL_MS: Final = 100


async def enqueue(url: str, name: str, jobs: int) -> None:
    """Make the backlog, and a group that begins with its first entry."""
    async with Redis.from_url(url) as client:
        await client.xgroup_create(name, name, id="0", mkstream=True)
    broker = RedisBroker(url, logger=None)
    await broker.connect()
    await repeat(jobs, lambda: broker.publish("noop", stream=name))
    await broker.stop()


async def work(url: str, name: str, job: Callable[[], None]) -> None:
    """Run one worker. One message at a time was faster than several at once."""

    async def noop(_message: str) -> None:
        job()

    broker = RedisBroker(url, logger=None)
    stream = StreamSub(name, group=name, consumer=name, max_records=_READ, polling_interval=_POLL_MS)
    broker.subscriber(stream=stream)(noop)
    await FastStream(broker, logger=None).run()
