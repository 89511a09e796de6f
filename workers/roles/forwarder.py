"""Carries entries of a relay stream to one other shard."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final

from workers.aio.tasks import end

if TYPE_CHECKING:
    from invites.events.operation import Operation
    from workers.roles.settler import Settler

_BATCH: Final = 64  # entries in one commit; each is a small one


class Forwarder:
    """A queue to one shard. Its entries keep their order; other shards have forwarders of their own."""

    def __init__(self, settler: Settler) -> None:
        self._settler = settler
        self._waiting: deque[tuple[Operation, bool]] = deque()
        self._task: asyncio.Task[None] | None = None

    def add(self, operations: list[Operation], *, alone: bool) -> None:
        """Queue operations, to be committed together or each `alone`."""
        self._waiting.extend((operation, alone) for operation in operations)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._carry())

    async def drain(self) -> None:
        """Carry all that is queued."""
        if self._task is not None:
            await asyncio.wait([self._task])
        await self._settler.drain()

    async def aclose(self, *, lose_commits: bool = True) -> None:
        """Drop what is queued. Waits for commits under way, unless their answers may be lost."""
        if self._task is not None:
            await end([self._task])
        await self._settler.aclose(lose_commits=lose_commits)

    async def _carry(self) -> None:
        while self._waiting:
            operation, alone = self._waiting.popleft()
            batch = [operation]
            while not alone and self._waiting and not self._waiting[0][1] and len(batch) < _BATCH:
                batch.append(self._waiting.popleft()[0])
            await self._settler.settle(batch, alone=alone)
