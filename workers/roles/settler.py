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

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from invites.events.operations import Operation
    from invites.lookup.resolver import Resolver
    from invites.store.commit import Commit, Outcome, Settled
    from workers.consumer.batch_size import Pace
    from workers.consumer.shard import Feed
    from workers.telemetry.reports import Reports

# Counting, logging and so on take 0.2 to 2 ms for a full batch. So long after a commit's answer the next commit is
# under way, and the server does not wait for them.
_CONCLUDE_S: Final = 0.001
_MOST_ASIDE: Final = 5_000  # entries; while more wait for a look-up or for memory, nothing new is settled
_FULL_WAIT_S: Final = 0.5
_FULL_TELL_S: Final = 30.0

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Answered:
    operations: Sequence[Operation]
    outcomes: Sequence[Outcome]
    alone: bool


class Settler:
    """Commits what entries of one stream ask for; `run` does so with the work in the inbox, in its order.

    While a batch is being committed the reader decodes the next one. What must be looked up first, and what a
    server out of memory refuses, is set aside and settled again later; it does not hold up the others.

    Each commit is shielded: whoever cancels a caller does not cancel a call that the server may have executed.
    """

    def __init__(
        self,
        feed: Feed[Any],
        pace: Pace,
        commit: Commit,
        resolver: Resolver,
        reports: Reports,
        heard: Callable[[int | None, int], None],
    ) -> None:
        self._feed = feed
        self._shard = feed.shard
        self._send = commit
        self._role = f"settling {feed.name}"
        self._pace = pace
        self._resolver = resolver
        self._reports = reports
        self._heard = heard  # told after each commit: the next deadline and the server's time (ms)
        self._aside: set[asyncio.Task[None]] = set()
        self._waiting: list[Operation] = []
        self._settling_waiting = asyncio.Lock()
        self._underway: set[asyncio.Task[Settled]] = set()
        self._answered: list[_Answered] = []
        self._concluding: asyncio.TimerHandle | None = None
        self._tell_full_at = 0.0

    async def run(self) -> None:
        """Settle until None is in the inbox, which must come last, and what was set aside is settled too."""
        while (work := await self._feed.inbox.get()) is not None:
            await self.settle(work.items, alone=work.alone)
            if work.catches_up:
                self._shard.caught_up.set()
            while len(self._aside) > _MOST_ASIDE:
                await asyncio.wait(self._aside, return_when=asyncio.FIRST_COMPLETED)
        await self.finish()

    async def settle(self, operations: Sequence[Operation], *, alone: bool = False) -> None:
        """Commit operations in one batch, or each `alone`, and see to what becomes of them."""
        if alone:
            for operation in operations:
                await self._settle([operation], alone=True)
        elif operations:
            await self._settle(operations)

    async def settle_together(self, operation: Operation) -> None:
        """Commit an operation together with those that come while the commit of others is under way."""
        self._waiting.append(operation)
        async with self._settling_waiting:
            batch, self._waiting = self._waiting, []
            while batch:
                size = self._pace.size  # it may be another one after the commit
                await self._settle(batch[:size])
                del batch[:size]

    async def finish(self) -> None:
        """See to all that was settled, and settle what was set aside."""
        self._conclude()
        while self._aside:
            await asyncio.wait(self._aside)
            self._conclude()

    async def abandon(self, *, lose_commits: bool) -> None:
        """After the loop was cancelled: drop what was set aside, and wait for the commits that are under way."""
        await end([*self._aside, *(self._underway if lose_commits else ())])
        if self._underway:
            await asyncio.wait(self._underway)
        self._conclude()
        await end(self._aside)

    async def _settle(self, operations: Sequence[Operation], *, alone: bool = False) -> None:
        """Commit a batch and see that its outcomes are seen to. Whatever happens, the loop goes on."""
        try:
            settled = await self._commit(operations)
        except LayoutError as error:
            # They stay pending, for workers that know where the calls are.
            for operation in operations:
                self._feed.progress.end(operation.entry)
            self._shard.misplaced(error)
            return
        except Exception as error:  # noqa: BLE001 - a batch that cannot be sent must not stop the others
            await self._isolate(operations, error)
            return
        self._heard(settled.next_due, settled.now)
        self._answered.append(_Answered(operations, settled.outcomes, alone))
        if any(outcome.status is Status.NEEDS for outcome in settled.outcomes):
            self._conclude()  # somebody waits for what is looked up
        elif self._concluding is None:
            self._concluding = asyncio.get_running_loop().call_later(_CONCLUDE_S, self._conclude)

    def _conclude(self) -> None:
        """See to the outcomes of the commits that have been answered."""
        if self._concluding is not None:
            self._concluding.cancel()
            self._concluding = None
        answered, self._answered = self._answered, []
        for batch in answered:
            try:
                self._see_to(batch)
            except Exception:  # noqa: BLE001 - as above; they are settled, or come back by the claim
                for operation in batch.operations:
                    self._feed.progress.end(operation.entry)
                _log.exception("What became of %d entries could not be told.", len(batch.operations))

    def _see_to(self, batch: _Answered) -> None:
        groupless = 0
        for operation, outcome in zip(batch.operations, batch.outcomes, strict=True):
            status = outcome.status
            if status is Status.NEEDS or status is Status.FULL:
                self._set_aside(operation, outcome, alone=batch.alone)
                continue
            self._feed.progress.end(operation.entry)
            if status is Status.FAILED:
                _log.error(
                    "The entry %s (%s) has failed and will be tried again: %s",
                    operation.entry,
                    operation.handler,
                    outcome.detail,
                )
            elif status is Status.NO_GROUP:
                groupless += 1
        if groupless:
            _log.error("%d entries are not settled: their consumer group was gone.", groupless)
        self._reports.settled(self._feed.source, batch.operations, batch.outcomes)

    async def _commit(self, operations: Sequence[Operation]) -> Settled:
        """Send the batch until it is answered. Raises only what sending it again would not mend."""
        backoff = Backoff()
        while True:
            started = time.perf_counter()
            call = asyncio.ensure_future(self._send(operations))
            self._underway.add(call)
            call.add_done_callback(self._underway.discard)
            try:
                settled = await asyncio.shield(call)
            except Exception as error:
                if not is_away(error):
                    raise
                # The server may have executed it: then the next answer says STALE.
                self._shard.outage.met(self._role, error)
                await backoff.wait()
            else:
                self._shard.outage.over(self._role)
                seconds = time.perf_counter() - started
                self._pace.committed(len(operations), seconds)
                self._reports.metrics.committed(len(operations), seconds)
                return settled

    async def _isolate(self, operations: Sequence[Operation], error: Exception) -> None:
        """Commit each operation of a refused batch alone; one that fails alone stays pending and is claimed."""
        if len(operations) > 1:
            _log.warning("A batch of %d entries was refused, each is tried alone: %s", len(operations), error)
            for operation in operations:
                await self._settle([operation], alone=True)
            return
        operation = operations[0]
        self._feed.progress.end(operation.entry)
        _log.error(
            "The entry %s (%s) is refused: %s", operation.entry, operation.handler, error, exc_info=error
        )

    def _set_aside(self, operation: Operation, outcome: Outcome, *, alone: bool) -> None:
        task = asyncio.ensure_future(self._settle_later(operation, outcome, alone=alone))
        self._aside.add(task)
        task.add_done_callback(self._aside.discard)

    async def _settle_later(self, operation: Operation, outcome: Outcome, *, alone: bool) -> None:
        if outcome.status is Status.FULL:
            self._tell_full()
            await asyncio.sleep(_FULL_WAIT_S)
        else:
            completed = await self._complete(operation, outcome)
            if completed is None:
                return
            operation = completed
        if alone:
            await self._settle([operation], alone=True)
        else:
            await self.settle_together(operation)

    def _tell_full(self) -> None:
        now = time.monotonic()
        if now >= self._tell_full_at:
            self._tell_full_at = now + _FULL_TELL_S
            _log.error(
                "Redis is out of memory: new invites and registrations wait until there is room, what ends calls "
                "goes on. Raise maxmemory."
            )

    async def _complete(self, operation: Operation, outcome: Outcome) -> Operation | None:
        """The operation with what it needs; None when that cannot be had: the entry stays pending."""
        backoff, looked_up = Backoff(), self._reports.metrics.looked_up
        while True:
            started = time.perf_counter()
            try:
                completed = await self._resolver.complete(operation, outcome)
            except Exception as error:  # noqa: BLE001 - one event must not take others with it
                looked_up(outcome.detail, "failed", time.perf_counter() - started)
                if not is_away(error):
                    self._feed.progress.end(operation.entry)
                    _log.error("The event %s needs a look-up that fails.", operation.entry, exc_info=error)
                    return None
                self._shard.outage.met(self._role, error)
                await backoff.wait()
            else:
                looked_up(outcome.detail, "done", time.perf_counter() - started)
                return completed
