"""Settles the entries read from one stream, in order: it sends the next commit while the server works on one."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self, assert_never

from invites.connection.errors import ErrorKind, classify, passes
from invites.logs.personal import personal
from invites.store.answers import Status
from invites.store.commit import grows
from workers.aio.backoff import Backoff
from workers.aio.tasks import end
from workers.loops import Role, run_forever
from workers.roles.set_aside import SetAside

if TYPE_CHECKING:
    from collections.abc import Sequence

    from invites.events.operation import Operation
    from invites.lookup.resolver import Resolver
    from invites.store.answers import CommitResult
    from workers.consumer.batch_size import BatchSize
    from workers.consumer.shard import Shard
    from workers.consumer.source import Source
    from workers.consumer.ticket import Ticket
    from workers.roles.commits import Commit
    from workers.roles.timers import Timers
    from workers.telemetry.reports import Reports

# Counting and logging take 0.2 to 2 ms for a full batch. They wait this long after a commit's answer. The next commit
# is under way then, and the server does not wait for them.
_CONCLUDE_S: Final = 0.001
# Commits of batches under way: the server has the next one when it has answered one. One more batch is decoded and
# waits: when the server finds two commits in its buffer, it answers both at once.
_AT_ONCE: Final = 2

_log = logging.getLogger(__name__)


class _Turn:
    """A batch in the order in which it was begun. Those after it wait until it is `over`, when it `holds` them."""

    __slots__ = ("_turns", "holds", "over")

    def __init__(self, turns: list[_Turn], *, holds: bool = False) -> None:
        self._turns = turns
        self.holds = holds
        self.over = asyncio.Event()

    def __enter__(self) -> Self:
        self._turns.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._turns.remove(self)
        self.over.set()


@dataclass(slots=True)
class _Answered:
    tickets: Sequence[Ticket[Operation]]
    result: CommitResult
    seconds: float


class Settler:
    """Commits the operations of one stream's entries; `run` takes the batches in the inbox, in order.

    While batches are being committed the reader decodes the next one. Operations that need a lookup, or that a server
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
        target: Shard | None = None,
    ) -> None:
        self._source = source
        self._shard = source.shard
        self._commit = commit
        self._commits = source.shard.worker.readiness.commits_of(source.key)
        self._role = Role(f"settling {source.name}", source.shard, target)
        self._batch_size = batch_size
        self._reports = reports
        self._spans = source.shard.worker.spans
        self._timers = timers
        self._set_aside = SetAside(self._role, source.stream, resolver, self._resume)
        self._waiting: list[Ticket[Operation]] = []
        self._settling_waiting = asyncio.Lock()
        self._under_way: set[asyncio.Task[CommitResult]] = set()
        self._places = asyncio.Semaphore(_AT_ONCE)
        self._beginning = asyncio.Lock()
        self._turns: list[_Turn] = []
        self._answered: list[_Answered] = []
        self._concluding: asyncio.TimerHandle | None = None

    async def run(self) -> None:
        """Settle until None is in the inbox, which must come last, and set-aside operations are settled too."""
        async with asyncio.TaskGroup() as loops:
            for _ in range(_AT_ONCE + 1):
                loops.create_task(run_forever(self._role, self._step, self._source.ended))
        await self.drain()

    async def settle_batch(self, tickets: Sequence[Ticket[Operation]]) -> None:
        """Settle entries in one commit, except for those that go alone: batches after them wait for these."""
        alone = [ticket for ticket in tickets if ticket.alone]
        with _Turn(self._turns, holds=bool(alone)) as turn:
            await self._settle([ticket for ticket in tickets if not ticket.alone], turn)
            for ticket in alone:
                await self._settle([ticket], turn)

    async def settle(self, tickets: Sequence[Ticket[Operation]]) -> None:
        """Commit entries together, and handle their outcomes. Never raises: the reclaimer takes failed entries."""
        with _Turn(self._turns) as turn:
            await self._settle(tickets, turn)

    async def settle_soon(self, ticket: Ticket[Operation]) -> None:
        """Settle an entry together with those that come while another commit is under way."""
        self._waiting.append(ticket)
        async with self._settling_waiting:
            batch, self._waiting = self._waiting, []
            while batch:
                size = self._batch_size.value  # a commit may change it
                await self.settle(batch[:size])
                del batch[:size]

    async def drain(self) -> None:
        """Handle all outcomes, and settle the operations that were set aside."""
        self._conclude()
        while self._set_aside:
            await self._set_aside.wait_for_one()
            self._conclude()

    async def aclose(self, *, lose_commits: bool = True) -> None:
        """Drop the operations that were set aside. Waits for commits under way, unless their answers may be lost."""
        await self._set_aside.aclose()
        if lose_commits:
            await end(self._under_way)
        if self._under_way:
            await asyncio.wait(self._under_way)
        self._conclude()
        await self._set_aside.aclose()

    async def _step(self) -> None:
        async with self._source.next_batch(_AT_ONCE) as batch, self._places:
            await self.settle_batch(batch.tickets)
        await self._set_aside.make_room()

    async def _settle(self, tickets: Sequence[Ticket[Operation]], turn: _Turn) -> None:
        if not tickets:
            return
        began = time.time_ns()
        try:
            result = await self._until_answered([ticket.item for ticket in tickets], turn)
        except Exception as error:  # noqa: BLE001 - a batch that cannot be sent must not stop the others
            await self._handle_error(tickets, error, turn)
            return
        self._timers.heard(result.next_due, result.now)
        ended = time.time_ns()
        self._answered.append(_Answered(tickets, result, max(0, ended - began) / 1e9))
        if self._spans is not None:
            self._spans.committed(self._shard.keys.shard, tickets, result.outcomes, began, ended)
        if any(outcome.status is Status.NEEDS for outcome in result.outcomes):
            self._conclude()  # a caller waits for the lookup
        elif self._concluding is None:
            self._concluding = asyncio.get_running_loop().call_later(_CONCLUDE_S, self._conclude)

    async def _until_answered(self, operations: Sequence[Operation], turn: _Turn) -> CommitResult:
        """Commit until there is an answer. Raises only errors that committing again would not cure.

        Commits are sent in the order of their turns. While one fails, those after it wait.
        """
        backoff: Backoff | None = None
        while True:
            if turn.holds:
                call = await self._send(operations, turn)
            else:
                async with self._beginning:
                    call = await self._send(operations, turn)
            started = time.perf_counter()
            try:
                result = await asyncio.shield(call)
            except Exception as error:
                self._commits.failed(operations[0].entry, f"{type(error).__name__}: {error}")
                if not passes(error):
                    raise
                # The server may have executed it: then the next answer says STALE.
                self._role.waits(error)
                backoff = backoff or Backoff()
                await backoff.wait()
            else:
                self._role.works()
                self._shard.committed(result.now)
                self._commits.answered()
                self._batch_size.committed(len(operations), result.server_s)
                self._reports.metrics.committed(len(operations), time.perf_counter() - started)
                return result

    async def _send(self, operations: Sequence[Operation], turn: _Turn) -> asyncio.Task[CommitResult]:
        """Begin a commit once its turn has come."""
        await self._wait_for(turn)
        prepared = await self._commit.prepare(operations)
        await self._wait_for(turn)  # one before it may have failed meanwhile
        call = asyncio.ensure_future(self._call(prepared, turn))
        self._under_way.add(call)
        call.add_done_callback(self._under_way.discard)
        return call

    async def _wait_for(self, turn: _Turn) -> None:
        """Wait for the batches before it that hold it or, if it holds others, for all of them."""
        for other in self._turns[: self._turns.index(turn)]:
            if other.holds or turn.holds:
                await other.over.wait()

    async def _call(self, operations: Sequence[Operation], turn: _Turn) -> CommitResult:
        try:
            return await self._commit.commit(operations)
        except Exception:
            turn.holds = True  # before anything else happens: nothing after it may be sent
            raise

    def _conclude(self) -> None:
        """Handle the outcomes of answered commits."""
        if self._concluding is not None:
            self._concluding.cancel()
            self._concluding = None
        answered, self._answered = self._answered, []
        for batch in answered:
            try:
                self._handle_outcomes(batch)
            except Exception:  # noqa: BLE001 - the entries are settled, or the reclaimer brings them back
                for ticket in batch.tickets:
                    ticket.leave()
                _log.exception("The outcomes of %d entries could not be reported.", len(batch.tickets))

    def _handle_outcomes(self, batch: _Answered) -> None:
        groupless = 0
        operations = [ticket.item for ticket in batch.tickets]
        for ticket, outcome in zip(batch.tickets, batch.result.outcomes, strict=True):
            match outcome.status:
                case Status.DONE | Status.STALE:
                    ticket.done()
                case Status.NEEDS | Status.FULL | Status.LOST:
                    self._set_aside.add(ticket, outcome)
                case Status.FAILED:
                    ticket.leave(
                        "The entry %s (%s) has failed and will be tried again: %s",
                        ticket.entry,
                        ticket.item.rule,
                        personal(outcome.detail),
                    )
                case Status.NO_GROUP:
                    groupless += 1
                    ticket.leave()
                case _:
                    assert_never(outcome.status)
        memory = self._shard.worker.memory
        if memory.full and any(
            grows(operation) and outcome.status is Status.DONE
            for operation, outcome in zip(operations, batch.result.outcomes, strict=True)
        ):
            memory.took()
        if groupless:
            _log.error("%d entries are not settled: their consumer group was gone.", groupless)
        self._reports.settled(self._source.stream, operations, batch.result, batch.seconds)

    async def _resume(self, ticket: Ticket[Operation]) -> None:
        if ticket.alone:
            await self.settle([ticket])
        else:
            await self.settle_soon(ticket)

    async def _handle_error(
        self, tickets: Sequence[Ticket[Operation]], error: Exception, turn: _Turn
    ) -> None:
        """Leave entries that no worker can commit now. Of a batch that was refused, commit each alone."""
        match kind := classify(error):
            case ErrorKind.REFUSED | ErrorKind.NO_GROUP:
                for ticket in tickets:
                    ticket.leave()
                await self._role.survive(error)
            case ErrorKind.BUG | ErrorKind.UNAVAILABLE | ErrorKind.FULL | ErrorKind.MOVED:
                await self._isolate(tickets, error, turn)
            case _:
                assert_never(kind)

    async def _isolate(self, tickets: Sequence[Ticket[Operation]], error: Exception, turn: _Turn) -> None:
        if len(tickets) == 1:
            tickets[0].leave("The entry %s is refused: %s", tickets[0].entry, error, error=error)
            return
        _log.warning(
            "The server refused a batch of %d entries; the worker tries each alone: %s", len(tickets), error
        )
        for ticket in tickets:
            ticket.alone = True
            await self._settle([ticket], turn)
