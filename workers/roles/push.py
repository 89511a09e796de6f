"""Sends push jobs of one shard to sippo-server, many in parallel."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

from invites.connection.errors import passes
from invites.events.entry import order
from invites.lookup.pushes import Push, Verdict, is_still_wanted
from invites.sippo import ApiCall, CallOutcome, NoAnswer, PushResult
from workers.aio.backoff import Backoff
from workers.aio.semaphore import NewestFirst
from workers.aio.tasks import end
from workers.loops import Role, run_forever

if TYPE_CHECKING:
    from invites.events.operation import Operation
    from invites.sippo import SippoServer
    from workers.consumer.source import Source
    from workers.consumer.ticket import Ticket
    from workers.roles.settler import Settler

MOST: Final = 2_000
"""Limit of jobs in flight. Jobs for an unreachable sippo-server wait here; more jobs stay in the stream."""

_FIRST_MS: Final = 200
_LONGEST_MS: Final = 2_000  # the last job goes out this long after sippo-server is back
_LONGEST_ASKED_S: Final = 10.0
# The breaker is open, or sippo-server asks for a pause. With 100 places, up to 100 jobs a second still try.
_CALL_NOBODY: Final = frozenset({CallOutcome.OPEN, CallOutcome.LIMITED})
_REST_S: Final = 1.0


class Pushes:
    """Each job is a task, until it is taken, its device is gone, its time is over, or it is no longer wanted.

    Before each attempt the task asks whether it is still wanted. `at_once` attempts run in parallel; a job that waits
    for its next attempt holds up no other. The newest job goes first: while sippo-server is slow, a fresh push is worth
    more than one whose call has rung for a long time. A job that is not settled when the shard stops is left to other
    workers.
    """

    def __init__(
        self, source: Source[Push | Operation], settler: Settler, sippo: SippoServer, at_once: int
    ) -> None:
        self._source = source
        self._shard = source.shard
        self._role = Role("pushing", source.shard)
        self._settler = settler
        self._sippo = sippo
        self._attempts = NewestFirst(at_once)
        self._jobs: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Take jobs until None is in the inbox, which must come last, and those in flight have ended."""
        await run_forever(self._role, self._step, self._source.ended)
        if self._jobs:
            await asyncio.wait(self._jobs)
        await self._settler.drain()

    async def aclose(self, *, lose_commits: bool = True) -> None:
        """After `run` has ended: drop what is not settled. Waits for commits under way, unless they may be lost."""
        await end(self._jobs)
        await self._settler.aclose(lose_commits=lose_commits)

    async def _step(self) -> None:
        async with self._source.next_batch() as batch:
            for ticket in batch.tickets:
                task = asyncio.create_task(self._take_on(ticket), name=f"push job {ticket.entry}")
                self._jobs.add(task)
                task.add_done_callback(self._jobs.discard)

    async def _take_on(self, ticket: Ticket[Any]) -> None:
        try:
            if isinstance(ticket.item, Push):
                await self._see_through(ticket, ticket.item)
            else:
                await self._settler.settle([ticket])
        except Exception as error:  # noqa: BLE001 - one job must not take others with it
            ticket.leave("The push job %s has failed and will be tried again.", ticket.entry, error=error)

    async def _see_through(self, ticket: Ticket[Any], push: Push) -> None:
        """Try until the job has come to its end, or the shard is stopping."""
        backoff = Backoff(_FIRST_MS, _LONGEST_MS)
        while not self._shard.stopping.is_set():
            ended = await self._try(push, backoff)
            if ended is not None:
                outcome, rule = ended
                self._shard.worker.metrics.pushed(push.type, outcome)
                ticket.item = push.settled(rule)
                await self._settler.settle_soon(ticket)
                return

    async def _try(self, push: Push, backoff: Backoff) -> tuple[str, str] | None:
        """The result of the job, and the rule for it; None, after a while, when it must be retried."""
        asked_s = 0.0
        async with self._attempts.hold(order(push.entry)):
            if self._shard.stopping.is_set():
                return None
            try:
                return await self._attempt(push)
            except NoAnswer as error:
                push.unsure = push.unsure or (error.arrived and error.call is ApiCall.PUSH)
                asked_s = min(error.retry_after, _LONGEST_ASKED_S)
                if error.reason in _CALL_NOBODY:
                    # No other job has any use for the place now, so most jobs wait for a place and ask nothing.
                    await backoff.wait(self._shard.stopping, at_least_s=max(asked_s, _REST_S))
                    return None
            except Exception as error:
                if not passes(error):
                    raise
                self._role.waits(error)
        await backoff.wait(self._shard.stopping, at_least_s=asked_s)
        return None

    async def _attempt(self, push: Push) -> tuple[str, str]:
        """Send the job if it is still wanted. Raises NoAnswer, and what redis-py raises."""
        verdict, left_ms = await is_still_wanted(self._shard.commands, self._shard.keys, push)
        self._role.works()
        cancels = push.type == "invitationCancel"
        if verdict is not Verdict.WANTED:
            unsure = push.unsure and not cancels
            return verdict.name.lower(), "pushUnsure" if unsure else "pushDropped"
        result = await self._send(push, left_ms)
        if cancels:
            return result.value, "pushDropped"
        return result.value, "pushTaken" if result is PushResult.TAKEN else "pushGone"

    async def _send(self, push: Push, left_ms: int) -> PushResult:
        """Send the job once. Raises NoAnswer."""
        spans, began, outcome = self._shard.worker.spans, time.time_ns(), "failed"
        try:
            result = await self._sippo.push(push.job(left_ms), once=True, traceparent=push.trace)
            outcome = result.value
        except NoAnswer as error:
            outcome = error.reason.value
            raise
        else:
            return result
        finally:
            if spans is not None:
                spans.pushed(self._shard.keys.shard, push, outcome, began, time.time_ns())
