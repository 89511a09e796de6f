"""A rival for tests: jobs in a list."""

from __future__ import annotations

from collections.abc import Callable

from redis.asyncio import Redis


async def enqueue(url: str, name: str, jobs: int) -> None:
    async with Redis.from_url(url) as client:
        for _ in range(jobs):
            await client.lpush(f"list:{name}", "noop")


async def work(url: str, name: str, job: Callable[[], None]) -> None:
    async with Redis.from_url(url) as client:
        while await client.rpop(f"list:{name}"):
            job()
