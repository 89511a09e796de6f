"""Operations that a commit has not completed: they wait for a look-up or for memory, or become dead letters."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Final, Protocol

from invites.connection.errors import is_away
from invites.queries.dead_letters import keep_lost
from invites.store.commit import Status
from workers.aio.backoff import Backoff
from workers.aio.tasks import end

if TYPE_CHECKING:
    from invites.events.operation import Operation
    from invites.lookup.resolver import Resolver
    from invites.store.commit import Outcome
    from workers.consumer.source import Source

_MOST: Final = 5_000  # operations; while more are set aside, nothing new is settled
_FULL_WAIT_S: Final = 0.5
_FULL_TELL_S: Final = 30.0

_log = logging.getLogger(__name__)


class Resumes(Protocol):
    """Settles an operation that was set aside."""

    async def __call__(self, operation: Operation, *, alone: bool) -> None: ...  # noqa: D102


class SetAside:
    """Holds operations that the server has refused for now, and resumes each when it can go on.

    Other entries overtake them meanwhile.
    """

    def __init__(self, source: Source[Operation], resolver: Resolver, role: str, resume: Resumes) -> None:
        self._source = source
        self._worker = source.shard.worker
        self._resolver = resolver
        self._role = role
        self._resume = resume
        self._tasks: set[asyncio.Task[None]] = set()
        self._tell_full_at = 0.0

    def __len__(self) -> int:
        return len(self._tasks)

    def add(self, operation: Operation, outcome: Outcome, *, alone: bool) -> None:
        """Hold an operation whose outcome is NEEDS, FULL or LOST."""
        task = asyncio.create_task(self._wait(operation, outcome, alone=alone))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def make_room(self) -> None:
        """Wait while too many are set aside."""
        while len(self._tasks) > _MOST:
            await self.wait_for_one()

    async def wait_for_one(self) -> None:
        """Wait until one of them has gone on."""
        await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)

    async def aclose(self) -> None:
        """Drop all of them. Their entries stay pending."""
        await end(self._tasks)

    async def _wait(self, operation: Operation, outcome: Outcome, *, alone: bool) -> None:
        if outcome.status is Status.FULL:
            self._tell_full()
            await asyncio.sleep(_FULL_WAIT_S)
            await self._resume(operation, alone=alone)
        elif outcome.status is Status.LOST:
            await self._keep_lost(operation, outcome.detail)
        elif (completed := await self._complete(operation, outcome)) is not None:
            await self._resume(completed, alone=alone)

    async def _keep_lost(self, operation: Operation, failure: str) -> None:
        """Make a dead letter of an entry that was acknowledged without all its effects."""
        shard, entry, backoff = self._source.shard, operation.entry, Backoff()
        _log.error(
            "The entry %s (%s) is acknowledged without all its effects and becomes a dead letter: %s",
            entry,
            operation.rule,
            failure,
        )
        while True:
            try:
                await keep_lost(shard.commands, shard.keys, self._source.stream, entry, failure)
            except Exception as error:  # noqa: BLE001 - the log has all that is known
                if not is_away(error):
                    _log.exception("The dead letter of %s cannot be written.", entry)
                    break
                self._worker.outage.met(self._role, error)
                await backoff.wait()
            else:
                self._worker.metrics.dead_letters()
                break
        self._source.in_flight.end(entry)

    def _tell_full(self) -> None:
        now = time.monotonic()
        if now >= self._tell_full_at:
            self._tell_full_at = now + _FULL_TELL_S
            _log.error(
                "Redis is out of memory: new invites and registrations wait until there is room; events that end "
                "calls are still processed. Raise maxmemory."
            )

    async def _complete(self, operation: Operation, outcome: Outcome) -> Operation | None:
        """The operation with what it needs; None when that cannot be had, and the entry stays pending."""
        backoff, looked_up = Backoff(), self._worker.metrics.looked_up
        while True:
            started = time.perf_counter()
            try:
                completed = await self._resolver.complete(operation, outcome)
            except Exception as error:  # noqa: BLE001 - one event must not take others with it
                looked_up(outcome.detail, "failed", time.perf_counter() - started)
                if not is_away(error):
                    self._source.in_flight.end(operation.entry)
                    _log.error("The event %s needs a look-up that fails.", operation.entry, exc_info=error)
                    return None
                self._worker.outage.met(self._role, error)
                await backoff.wait()
            else:
                looked_up(outcome.detail, "done", time.perf_counter() - started)
                return completed
