"""Takes push jobs of one shard to sippo-server, many side by side."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from invites.connection.errors import is_away
from invites.lookup.pushes import Push, Verdict, is_still_wanted
from invites.sippo import ApiCall, CallOutcome, NoAnswer, PushResult
from workers.aio.backoff import Backoff
from workers.aio.tasks import end

if TYPE_CHECKING:
    from invites.events.operation import Operation
    from invites.sippo import SippoServer
    from workers.consumer.source import Source
    from workers.roles.settler import Settler

_ROLE: Final = "pushing"
MOST: Final = 2_000
"""Limit of jobs in flight. Jobs for an unreachable sippo-server wait side by side; more jobs stay in the stream."""

_FIRST_MS: Final = 200
_LONGEST_MS: Final = 2_000  # the last job goes out this long after sippo-server is back
_LONGEST_ASKED_S: Final = 10.0
# The breaker is open, or sippo-server asks for a pause. With 100 places, up to 100 jobs a second try all the same.
_CALL_NOBODY: Final = frozenset({CallOutcome.OPEN, CallOutcome.LIMITED})
_REST_S: Final = 1.0

_log = logging.getLogger(__name__)


class Pushes:
    """Each job is a task, until it is taken, its device is gone, its time is over, or it is no longer wanted.

    Whether it is still wanted is asked before each attempt. `at_once` attempts are under way side by side; a job that
    waits for its next attempt holds up no other. A job that is not settled when the shard stops is left to others.
    """

    def __init__(
        self, source: Source[Push | Operation], settler: Settler, sippo: SippoServer, at_once: int
    ) -> None:
        self._source = source
        self._shard = source.shard
        self._settler = settler
        self._sippo = sippo
        self._places = asyncio.Semaphore(at_once)
        self._jobs: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Take jobs on until None is in the inbox, which must come last, and those under way have ended."""
        while (batch := await self._source.inbox.get()) is not None:
            for item in batch.items:
                await self._take_on(item)
        if self._jobs:
            await asyncio.wait(self._jobs)
        await self._settler.drain()

    async def aclose(self, *, lose_commits: bool = True) -> None:
        """After `run` has ended: drop what is not settled. Waits for commits under way, unless they may be lost."""
        await end(self._jobs)
        await self._settler.aclose(lose_commits=lose_commits)

    async def _take_on(self, item: Push | Operation) -> None:
        if not isinstance(item, Push):
            await self._settler.settle([item], alone=True)
            return
        task = asyncio.create_task(self._see_through(item), name=f"push job {item.entry}")
        self._jobs.add(task)
        task.add_done_callback(self._jobs.discard)

    async def _see_through(self, push: Push) -> None:
        """Try until the job has come to its end, or the shard is stopping."""
        backoff = Backoff(_FIRST_MS, _LONGEST_MS)
        try:
            while not self._shard.stopping.is_set():
                ended = await self._try(push, backoff)
                if ended is not None:
                    outcome, rule = ended
                    self._shard.worker.metrics.pushed(push.type, outcome)
                    await self._settler.settle_soon(push.settled(rule))
                    return
        except Exception:  # noqa: BLE001 - one job must not take others with it; the reclaimer brings it back
            self._source.in_flight.end(push.entry)
            _log.exception("The push job %s has failed and will be tried again.", push.entry)

    async def _try(self, push: Push, backoff: Backoff) -> tuple[str, str] | None:
        """What became of the job, and the rule for it; None, after a while, when it has to be tried again."""
        asked_s = 0.0
        async with self._places:
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
                if not is_away(error):
                    raise
                self._shard.worker.outage.met(_ROLE, error)
        await backoff.wait(self._shard.stopping, at_least_s=asked_s)
        return None

    async def _attempt(self, push: Push) -> tuple[str, str]:
        """Send the job if it is still wanted. Raises NoAnswer, and what redis-py raises."""
        verdict, left_ms = await is_still_wanted(self._shard.commands, self._shard.keys, push)
        self._shard.worker.outage.over(_ROLE)
        cancels = push.type == "invitationCancel"
        if verdict is not Verdict.WANTED:
            unsure = push.unsure and not cancels
            return verdict.name.lower(), "pushUnsure" if unsure else "pushDropped"
        result = await self._sippo.push(push.job(left_ms), once=True)
        if cancels:
            return result.value, "pushDropped"
        return result.value, "pushTaken" if result is PushResult.TAKEN else "pushGone"
