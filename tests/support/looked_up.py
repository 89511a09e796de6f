"""Publishes calls that another worker has already looked up and settled, so that the test's own worker finds them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from invites.store.answers import Status
from invites.store.settings import Settings
from tests.support import events as e
from tests.support.shard import Shard

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from tests.support.events import Published

SETTINGS = Settings(look_up="all")


async def another_worker(client: Redis, settings: Settings = SETTINGS) -> Shard:
    """Return a shard that settles events before the workers of the test start."""
    shard = await Shard.make(client, settings)
    shard.settings = settings
    return shard


async def settle(shard: Shard, event: Published, found: dict[str, Any]) -> None:
    """Publish an invite and settle it with this answer of sippo-server for its callee."""
    operation = await shard.publish(*event)
    completed = operation.having(lookup_result=json.dumps(found))
    (outcome,) = (await shard.committer.commit([completed])).outcomes
    assert outcome.status is Status.DONE, outcome


async def call_group(shard: Shard, members: Sequence[str], devices: int = 1, **more: Any) -> None:
    """Register the members' devices (`bob-0`, `bob-1`, …); then Alice calls them as the group `sales`."""
    for member in members:
        for number in range(devices):
            await shard.event(*e.registered(f"{member}-{number}", member))
    found = {"known": True, "members": [{"user": member} for member in members]}
    await settle(shard, e.invite(to="sales", **more), found)


async def call_phone(shard: Shard, *devices: str, **more: Any) -> None:
    """Alice calls Bob, who has these push devices."""
    await settle(shard, e.invite(**more), {"known": True, "push": list(devices)})
