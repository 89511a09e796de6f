"""Settles what has been read from one stream: one commit after the other."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from invites.connection.errors import is_away
from invites.store.commit import Status
from invites.store.layout import LayoutError
from workers.aio.backoff import Backoff
from workers.aio.tasks import end
from workers.roles.set_aside import SetAside

if TYPE_CHECKING:
    from collections.abc import Sequence

    from invites.events.operation import Operation
    from invites.lookup.resolver import Resolver
    from invites.store.commit import CommitResult, Outcome
    from workers.consumer.batch_size import BatchSize
    from workers.consumer.source import Source
    from workers.roles.commits import Commit
    from workers.roles.timers import Timers
    from workers.telemetry.reports import Reports

# Counting and logging take 0.2 to 2 ms for a full batch. They wait this long after a commit's answer. The next commit
# is under way then, and the server does not wait for them.
_CONCLUDE_S: Final = 0.001

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Answered:
    operations: Sequence[Operation]
    outcomes: Sequence[Outcome]
    alone: bool


class Settler:
    """Commits what entries of one stream ask for; `run` takes the batches in the inbox, in their order.

    While a batch is being committed the reader decodes the next one. Operations that need a look-up, or that a server
    out of memory refuses, are set aside and committed later; they do not hold up the others.

    Each commit is shielded: cancelling a caller does not cancel a call that the server may have executed.
    """

    def __init__(
        self,
        source: Source[Any],
        batch_size: BatchSize,
        commit: Commit,
        resolver: Resolver,
        reports: Reports,
        timers: Timers,
    ) -> None:
        self._source = source
        self._shard = source.shard
        self._commit = commit
        self._role = f"settling {source.name}"
        self._batch_size = batch_size
        self._reports = reports
        self._timers = timers
        self._set_aside = SetAside(source, resolver, self._role, self._resume)
        self._waiting: list[Operation] = []
        self._settling_waiting = asyncio.Lock()
        self._under_way: set[asyncio.Task[CommitResult]] = set()
        self._answered: list[_Answered] = []
        self._concluding: asyncio.TimerHandle | None = None

    async def run(self) -> None:
        """Settle until None is in the inbox, which must come last, and what was set aside is settled too."""
        while (batch := await self._source.inbox.get()) is not None:
            await self.settle_batch(batch.items, alone=batch.alone)
            if batch.catches_up:
                self._shard.caught_up.set()
            await self._set_aside.make_room()
        await self.drain()

    async def settle_batch(self, operations: Sequence[Operation], *, alone: bool) -> None:
        """Settle operations in one commit, or each `alone`."""
        if not alone:
            await self.settle(operations)
            return
        for operation in operations:
            await self.settle([operation], alone=True)

    async def settle(self, operations: Sequence[Operation], *, alone: bool = False) -> None:
        """Commit operations together, and see to their outcomes. Never raises: the loop goes on.

        `alone` says that an operation which is set aside is committed alone again.
        """
        if not operations:
            return
        try:
            result = await self._until_answered(operations)
        except LayoutError as error:
            # The entries stay pending, for workers that know the shard of each call.
            for operation in operations:
                self._source.in_flight.end(operation.entry)
            self._shard.worker.misplaced(error)
            return
        except Exception as error:  # noqa: BLE001 - a batch that cannot be sent must not stop the others
            await self._isolate(operations, error)
            return
        self._timers.heard(result.next_due, result.now)
        self._answered.append(_Answered(operations, result.outcomes, alone))
        if any(outcome.status is Status.NEEDS for outcome in result.outcomes):
            self._conclude()  # a caller waits for the look-up
        elif self._concluding is None:
            self._concluding = asyncio.get_running_loop().call_later(_CONCLUDE_S, self._conclude)

    async def settle_soon(self, operation: Operation) -> None:
        """Settle an operation together with those that come while another commit is under way."""
        self._waiting.append(operation)
        async with self._settling_waiting:
            batch, self._waiting = self._waiting, []
            while batch:
                size = self._batch_size.value  # a commit may change it
                await self.settle(batch[:size])
                del batch[:size]

    async def drain(self) -> None:
        """See to all outcomes, and settle what was set aside."""
        self._conclude()
        while self._set_aside:
            await self._set_aside.wait_for_one()
            self._conclude()

    async def aclose(self, *, lose_commits: bool = True) -> None:
        """Drop what was set aside. Waits for commits under way, unless their answers may be lost."""
        await self._set_aside.aclose()
        if lose_commits:
            await end(self._under_way)
        if self._under_way:
            await asyncio.wait(self._under_way)
        self._conclude()
        await self._set_aside.aclose()

    async def _until_answered(self, operations: Sequence[Operation]) -> CommitResult:
        """Commit until there is an answer. Raises only what committing again would not mend."""
        backoff = Backoff()
        while True:
            started = time.perf_counter()
            call = asyncio.ensure_future(self._commit.commit(operations))
            self._under_way.add(call)
            call.add_done_callback(self._under_way.discard)
            try:
                result = await asyncio.shield(call)
            except Exception as error:
                if not is_away(error):
                    raise
                # The server may have executed it: then the next answer says STALE.
                self._shard.worker.outage.met(self._role, error)
                await backoff.wait()
            else:
                self._shard.worker.outage.over(self._role)
                seconds = time.perf_counter() - started
                self._batch_size.committed(len(operations), seconds)
                self._reports.metrics.committed(len(operations), seconds)
                return result

    def _conclude(self) -> None:
        """See to the outcomes of the commits that have been answered."""
        if self._concluding is not None:
            self._concluding.cancel()
            self._concluding = None
        answered, self._answered = self._answered, []
        for batch in answered:
            try:
                self._see_to(batch)
            except Exception:  # noqa: BLE001 - the entries are settled, or the reclaimer brings them back
                for operation in batch.operations:
                    self._source.in_flight.end(operation.entry)
                _log.exception("The outcomes of %d entries could not be reported.", len(batch.operations))

    def _see_to(self, batch: _Answered) -> None:
        groupless = 0
        for operation, outcome in zip(batch.operations, batch.outcomes, strict=True):
            status = outcome.status
            if status is Status.NEEDS or status is Status.FULL or status is Status.LOST:
                self._set_aside.add(operation, outcome, alone=batch.alone)
                continue
            self._source.in_flight.end(operation.entry)
            if status is Status.FAILED:
                _log.error(
                    "The entry %s (%s) has failed and will be tried again: %s",
                    operation.entry,
                    operation.rule,
                    outcome.detail,
                )
            elif status is Status.NO_GROUP:
                groupless += 1
        if groupless:
            _log.error("%d entries are not settled: their consumer group was gone.", groupless)
        self._reports.settled(self._source.stream, batch.operations, batch.outcomes)

    async def _resume(self, operation: Operation, *, alone: bool) -> None:
        if alone:
            await self.settle([operation], alone=True)
        else:
            await self.settle_soon(operation)

    async def _isolate(self, operations: Sequence[Operation], error: Exception) -> None:
        """Commit each operation of a refused batch alone. One that fails alone stays pending and is claimed."""
        if len(operations) > 1:
            _log.warning("A batch of %d entries was refused, each is tried alone: %s", len(operations), error)
            for operation in operations:
                await self.settle([operation], alone=True)
            return
        operation = operations[0]
        self._source.in_flight.end(operation.entry)
        _log.error("The entry %s (%s) is refused: %s", operation.entry, operation.rule, error, exc_info=error)
