"""Takes push jobs of one shard to sippo-server, many side by side."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from invites.connection.errors import is_away
from invites.lookup.pushes import Push, Standing, standing_of
from invites.sippo import ApiCall, CallOutcome, NoAnswer, PushResult
from workers.aio.backoff import Backoff
from workers.aio.tasks import end

if TYPE_CHECKING:
    from invites.events.operations import Operation
    from invites.sippo import SippoServer
    from workers.consumer.shard import Feed
    from workers.roles.settler import Settler
    from workers.telemetry.metrics import Metrics

_ROLE: Final = "pushing"
MOST: Final = 2_000
"""Jobs in hand. They wait side by side for a sippo-server that is away; more are left in the stream meanwhile."""

_FIRST_MS: Final = 200
_LONGEST_MS: Final = 2_000  # so long after sippo-server is back the last job goes out
_LONGEST_ASKED_S: Final = 10.0
# The breaker is open, or sippo-server asks to be left alone. With 100 places, up to 100 jobs a second try all the same.
_NOBODYS_TURN: Final = frozenset({CallOutcome.OPEN, CallOutcome.LIMITED})
_REST_S: Final = 1.0

_log = logging.getLogger(__name__)


class Pushes:
    """Each job is a task of its own, until it is taken, its device is gone, its time is over, or nobody wants it.

    Whether it is still wanted is asked before each attempt. `at_once` attempts are under way side by side; a job that
    waits for its next one is in nobody's way. One that is not settled when the shard stops is left to others.
    """

    def __init__(
        self,
        feed: Feed[Push | Operation],
        settler: Settler,
        sippo: SippoServer,
        at_once: int,
        metrics: Metrics,
    ) -> None:
        self._feed = feed
        self._shard = feed.shard
        self._settler = settler
        self._sippo = sippo
        self._places = asyncio.Semaphore(at_once)
        self._metrics = metrics
        self._jobs: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Take jobs on until None is in the inbox, which must come last, and those under way have ended."""
        while (work := await self._feed.inbox.get()) is not None:
            for item in work.items:
                await self._take_on(item)
        if self._jobs:
            await asyncio.wait(self._jobs)
        await self._settler.finish()

    async def abandon(self, *, lose_commits: bool) -> None:
        """After `run` was cancelled: drop what is not settled, and wait for the commits that are under way."""
        await end(self._jobs)
        await self._settler.abandon(lose_commits=lose_commits)

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
                    outcome, handler = ended
                    self._metrics.pushed(push.type, outcome)
                    await self._settler.settle_together(push.settled(handler))
                    return
        except Exception:  # noqa: BLE001 - one job must not take others with it; it comes back by the claim
            self._feed.progress.end(push.entry)
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
                if error.reason in _NOBODYS_TURN:
                    # Nobody has any use for the place now, so most jobs wait for a place and ask nothing.
                    await backoff.wait(self._shard.stopping, at_least_s=max(asked_s, _REST_S))
                    return None
            except Exception as error:
                if not is_away(error):
                    raise
                self._shard.outage.met(_ROLE, error)
        await backoff.wait(self._shard.stopping, at_least_s=asked_s)
        return None

    async def _attempt(self, push: Push) -> tuple[str, str]:
        """Send the job if it is wanted. Raises NoAnswer, and what redis-py raises."""
        standing, left_ms = await standing_of(self._shard.commands, self._shard.keys, push)
        self._shard.outage.over(_ROLE)
        cancels = push.type == "invitationCancel"
        if standing is not Standing.WANTED:
            unsure = push.unsure and not cancels
            return standing.name.lower(), "pushUnsure" if unsure else "pushDropped"
        result = await self._sippo.push(push.job(left_ms), once=True)
        if cancels:
            return result.value, "pushDropped"
        return result.value, "pushTaken" if result is PushResult.TAKEN else "pushGone"
