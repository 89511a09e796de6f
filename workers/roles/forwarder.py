"""Carries entries of a relay stream to one other shard."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final

from invites.events.arguments import BundleArguments
from workers.aio.tasks import end

if TYPE_CHECKING:
    from collections.abc import Iterable

    from invites.events.operation import Operation
    from workers.consumer.ticket import Ticket
    from workers.roles.settler import Settler

_MOST: Final = 64  # messages in one commit, unless the first entry has more; each is a small one


class Forwarder:
    """A queue to one shard. Its entries keep their order; other shards have forwarders of their own."""

    def __init__(self, settler: Settler) -> None:
        self._settler = settler
        self._waiting: deque[Ticket[Operation]] = deque()
        self._task: asyncio.Task[None] | None = None

    def add(self, tickets: Iterable[Ticket[Operation]]) -> None:
        """Queue entries, to be committed together except for those that go alone."""
        self._waiting.extend(tickets)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._carry())

    async def drain(self) -> None:
        """Carry all queued entries."""
        if self._task is not None:
            await asyncio.wait([self._task])
        await self._settler.drain()

    async def aclose(self, *, lose_commits: bool = True) -> None:
        """Drop the queue. Waits for commits under way, unless their answers may be lost."""
        if self._task is not None:
            await end([self._task])
        await self._settler.aclose(lose_commits=lose_commits)

    async def _carry(self) -> None:
        while self._waiting:
            first = self._waiting.popleft()
            batch, count = [first], _count(first)
            while not first.alone and self._waiting and not self._waiting[0].alone:
                count += _count(self._waiting[0])
                if count > _MOST:
                    break
                batch.append(self._waiting.popleft())
            await self._settler.settle(batch)


def _count(ticket: Ticket[Operation]) -> int:
    """How many messages the entry has."""
    arguments = ticket.item.arguments
    return arguments.count if isinstance(arguments, BundleArguments) else 1
