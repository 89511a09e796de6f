"""What the parts of one shard's worker share."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from invites.keys import Keys
    from invites.lookup.other_shards import OtherShards
    from invites.store.commit import Committer
    from workers.consumer.group import ConsumerGroup
    from workers.context import WorkerContext


@dataclass(slots=True)
class Shard:
    """One shard as a worker sees it; `worker` is what all its shards share, `groups` are those that it reads in.

    `caught_up` is set once everything is settled that was published before the worker started.
    """

    keys: Keys
    worker: WorkerContext
    commands: Redis
    committer: Committer
    other_shards: OtherShards
    groups: list[ConsumerGroup] = field(default_factory=list)
    caught_up: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def stopping(self) -> asyncio.Event:
        """Set when the worker takes nothing new."""
        return self.worker.stopping

    @property
    def claim_after_ms(self) -> int:
        """How long an entry stays with a worker that does nothing with it."""
        return self.worker.config.invites.claim_after

    async def ensure_groups(self) -> None:
        """Make the consumer groups that do not exist. Raises what redis-py raises when the server is away."""
        for group in self.groups:
            await group.ensure()
