"""Operations that a commit has not completed: they wait for a lookup or for memory, or become dead letters."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Final, Protocol

from invites.connection.errors import passes
from invites.logs.personal import personal
from invites.queries.dead_letters import keep_lost
from invites.store.answers import Status
from workers.aio.backoff import Backoff
from workers.aio.tasks import end

if TYPE_CHECKING:
    from invites.events.operation import Operation
    from invites.keys import Stream
    from invites.lookup.resolver import Resolver
    from invites.store.answers import Outcome
    from workers.consumer.ticket import Ticket
    from workers.loops import Role

_MOST: Final = 5_000  # operations; while more are set aside, nothing new is settled
_FULL_WAIT_S: Final = 0.5

_log = logging.getLogger(__name__)


class Resumes(Protocol):
    """Settles an entry that was set aside."""

    async def __call__(self, ticket: Ticket[Operation]) -> None: ...  # noqa: D102


class SetAside:
    """Holds operations that the server has refused for now, and resumes each when it can continue.

    Other entries overtake them meanwhile.
    """

    def __init__(self, role: Role, stream: Stream, resolver: Resolver, resume: Resumes) -> None:
        self._memory, self._metrics = role.shard.worker.memory, role.shard.worker.metrics
        self._spans = role.shard.worker.spans
        self._resolver = resolver
        self._role = role
        self._stream = stream
        self._resume = resume
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def add(self, ticket: Ticket[Operation], outcome: Outcome) -> None:
        """Hold an entry whose outcome is NEEDS, FULL or LOST."""
        task = asyncio.create_task(self._wait(ticket, outcome))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def make_room(self) -> None:
        """Wait while too many are set aside."""
        while len(self._tasks) > _MOST:
            await self.wait_for_one()

    async def wait_for_one(self) -> None:
        """Wait until one of them has continued."""
        await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)

    async def aclose(self) -> None:
        """Drop all of them. Their entries stay pending."""
        await end(self._tasks)

    async def _wait(self, ticket: Ticket[Operation], outcome: Outcome) -> None:
        if outcome.status is Status.FULL:
            self._memory.refused()
            await asyncio.sleep(_FULL_WAIT_S)
        elif outcome.status is Status.LOST:
            await self._keep_lost(ticket, outcome.detail)
            return
        else:
            began = time.time_ns()
            try:
                ticket.item = await self._complete(ticket.item, outcome)
            except Exception as error:  # noqa: BLE001 - one event must not take others with it
                ticket.leave("The event %s needs a lookup that fails.", ticket.entry, error=error)
                return
            if self._spans is not None:
                shard = self._role.shard.keys.shard
                self._spans.looked_up(shard, ticket.item, outcome.detail, began, time.time_ns())
        await self._resume(ticket)

    async def _keep_lost(self, ticket: Ticket[Operation], failure: str) -> None:
        """Make a dead letter of an entry that was acknowledged without all its effects."""
        shard, backoff = self._role.shard, Backoff()
        _log.error(
            "The entry %s (%s) is acknowledged without all its effects and becomes a dead letter: %s",
            ticket.entry,
            ticket.item.rule,
            personal(failure),
        )
        while True:
            try:
                await keep_lost(shard.commands, shard.keys, self._stream, ticket.entry, failure)
            except Exception as error:  # noqa: BLE001 - the log has all that is known
                if not passes(error):
                    _log.exception("The dead letter of %s cannot be written.", ticket.entry)
                    break
                self._role.waits(error)
                await backoff.wait()
            else:
                self._metrics.dead_letters()
                break
        ticket.done()

    async def _complete(self, operation: Operation, outcome: Outcome) -> Operation:
        """The operation with the data that it needs. Raises only errors that asking again would not cure."""
        backoff, looked_up = Backoff(), self._metrics.looked_up
        while True:
            started = time.perf_counter()
            try:
                completed = await self._resolver.complete(operation, outcome)
            except Exception as error:
                looked_up(outcome.detail, "failed", time.perf_counter() - started)
                if not passes(error):
                    raise
                self._role.waits(error)
                await backoff.wait()
            else:
                looked_up(outcome.detail, "done", time.perf_counter() - started)
                return completed
