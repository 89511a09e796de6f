"""No commit is large even at all limits. `python -m tests.script_times` measures the times."""

from __future__ import annotations

from redis.asyncio import Redis

from tests.script_times import OPTIONS, steps
from tests.support.servers.node import Node


async def test_no_commit_has_many_commands() -> None:
    with Node(OPTIONS) as node:
        async with Redis.from_url(node.url) as client:
            taken = [step async for step in steps(client, trunk_calls=200, members=2_000)]
    assert len(taken) == 19
    assert max(taken, key=lambda step: step.commands).commands < 600
