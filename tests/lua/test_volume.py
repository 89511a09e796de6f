"""Rules over thousands of calls of one peer. Lua passes some 8,000 values to a function at most."""

from __future__ import annotations

from typing import TYPE_CHECKING

from invites.store.settings import Settings
from tests.support import events as e
from tests.support.shard import Shard

if TYPE_CHECKING:
    from redis.asyncio import Redis

CALLS = 4_200
_BATCH = 100


async def _calls(client: Redis) -> Shard:
    """A shard in which Alice has called Bob's phone very often, and none of the calls has been answered."""
    shard = await Shard.make(client, Settings(caller_grace=1_000))
    await shard.event(*e.registered("phone"))
    await shard.event(*e.registered("a", "alice"))
    for first in range(0, CALLS, _BATCH):
        invites = [await shard.publish(*e.invite(invite_id=str(first + at))) for at in range(_BATCH)]
        await shard.settle(*invites)
    await shard.told()
    return shard


async def test_all_calls_of_a_lost_caller_end(client: Redis) -> None:
    shard = await _calls(client)
    await shard.event(*e.disconnected("a", "alice"))
    shard.now += 2_000
    told = await shard.fire()
    assert sum(one.type == "INVITE_COMPLETED" for one in told) == CALLS
    assert await shard.dead() == []


async def test_all_calls_of_a_lost_callee_end(client: Redis) -> None:
    shard = await _calls(client)
    told = await shard.event(*e.disconnected("phone"))
    assert sum(one.type == "INVITE_COMPLETED" for one in told) == CALLS
    assert await shard.dead() == []


async def test_all_calls_of_a_caller_who_leaves_the_room_end(client: Redis) -> None:
    shard = await _calls(client)
    told = await shard.event(*e.left("alice"))
    assert sum(one.type == "INVITE_COMPLETED" for one in told) == CALLS
    assert await shard.dead() == []
