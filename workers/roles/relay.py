"""The relay stream of one shard: settles what earlier commits have left to do, carries what they have for others."""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from typing import TYPE_CHECKING, Final

from workers.aio.tasks import end

if TYPE_CHECKING:
    from collections.abc import Mapping

    from invites.events.operations import Operation
    from workers.consumer.shard import Feed
    from workers.roles.settler import Settler

_BATCH: Final = 64  # entries in one commit; each is a small one
MOST: Final = 5_000
"""Entries on their way. While a shard is away what is for it waits here, and others go on until it is so many."""


class _Line:
    """What waits to be carried to one shard, in its order, while other shards are carried to."""

    def __init__(self, settler: Settler) -> None:
        self._settler = settler
        self._waiting: deque[tuple[Operation, bool]] = deque()
        self.task: asyncio.Task[None] | None = None

    def add(self, operations: list[Operation], *, alone: bool) -> None:
        self._waiting.extend((operation, alone) for operation in operations)
        if self.task is None or self.task.done():
            self.task = asyncio.create_task(self._carry())

    async def finish(self) -> None:
        if self.task is not None:
            await asyncio.wait([self.task])
        await self._settler.finish()

    async def abandon(self, *, lose_commits: bool) -> None:
        if self.task is not None:
            await end([self.task])
        await self._settler.abandon(lose_commits=lose_commits)

    async def _carry(self) -> None:
        while self._waiting:
            batch, alone = [self._waiting[0][0]], self._waiting.popleft()[1]
            while not alone and self._waiting and not self._waiting[0][1] and len(batch) < _BATCH:
                batch.append(self._waiting.popleft()[0])
            await self._settler.settle(batch, alone=alone)


class Relay:
    """Settles the entries that are for its own shard in the order of the stream, and has the others carried."""

    def __init__(self, feed: Feed[Operation], settler: Settler) -> None:
        self.feed = feed
        self._settler = settler
        self._lines: dict[int, _Line] = {}

    def lead_to(self, carriers: Mapping[int, Settler]) -> None:
        """From now on there are other shards; each has who settles there what is carried to it."""
        self._lines = {shard: _Line(settler) for shard, settler in carriers.items()}

    async def run(self) -> None:
        """Settle and carry until None is in the inbox, which must come last, and what is on its way has arrived."""
        while (work := await self.feed.inbox.get()) is not None:
            own: list[Operation] = []
            others: defaultdict[int, list[Operation]] = defaultdict(list)
            for operation in work.items:
                (own if operation.shard is None else others[operation.shard]).append(operation)
            for shard, operations in others.items():
                self._lines[shard].add(operations, alone=work.alone)
            await self._settler.settle(own, alone=work.alone)
        await self._settler.finish()
        for line in self._lines.values():
            await line.finish()

    async def abandon(self, *, lose_commits: bool) -> None:
        """After `run` was cancelled: drop what is not settled, and wait for the commits that are under way."""
        for line in self._lines.values():
            await line.abandon(lose_commits=lose_commits)
        await self._settler.abandon(lose_commits=lose_commits)
