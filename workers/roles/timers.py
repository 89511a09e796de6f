"""Fires the due timers of one shard: time-outs, grace periods, lapses."""

from __future__ import annotations

import asyncio
import math
import random
import time
from typing import TYPE_CHECKING, Final

from workers.aio.backoff import pause
from workers.consumer.shard import FRESH_S
from workers.loops import Role, run_forever

if TYPE_CHECKING:
    from workers.consumer.shard import Shard
    from workers.telemetry.reports import Reports

_LONGEST_S: Final = 1.0  # only the server knows what other workers schedule
_PAGE: Final = 100  # some 10 ms of the server's time
# An entry of a frozen worker is claimed after `claimAfter` plus up to a second, and then settled.
_PATIENCE_MS: Final = (6_000, 60_000)
# Every worker knows the next deadline, and the first one takes all due timers. So they come at different times,
# and not more often than this: under load something falls due all the time.
_SPREAD_S: Final = (0.002, 0.02)


def patience_ms(claim_after_ms: int) -> int:
    """For how long a timer waits for events that were published up to its time: twice `claimAfter`, 6 to 60 s."""
    least, most = _PATIENCE_MS
    return min(max(2 * claim_after_ms, least), most)


class Timers:
    """Sleeps until the next deadline that this worker knows, and fires the due timers.

    It asks the server for timers that others have scheduled only while the janitor does not see them.
    """

    def __init__(self, shard: Shard, reports: Reports) -> None:
        self._role = Role("firing timers", shard)
        self._shard = shard
        self._reports = reports
        self._patience_ms = patience_ms(shard.claim_after_ms)
        self._due = 0.0
        self._ask_at = 0.0
        self._looked_at = 0
        self._nearer = asyncio.Event()

    def heard(self, next_due: int | None, now: int) -> None:
        """A commit says when the next deadline is, and the server's time (both in ms since 1970).

        A deadline that had passed at the last look waits for an event. That look said when to look again.
        """
        if next_due is None or next_due <= self._looked_at:
            return
        due = time.monotonic() + (next_due - now) / 1000
        if due < self._due - _SPREAD_S[0]:
            self._due = due
            self._nearer.set()

    def seen(self, next_due: int | None, now: int) -> None:
        """At the server's time `now` the first of all timers was due at `next_due` (both in ms since 1970)."""
        if next_due is not None and next_due <= now:
            self._ask_at = 0.0
            self._nearer.set()
            return
        self._ask_at = time.monotonic() + FRESH_S
        self.heard(next_due, now)

    def wake(self) -> None:
        """Check now whether the shard is stopping."""
        self._nearer.set()

    async def run(self) -> None:
        """Fire until the shard is stopping."""
        await run_forever(self._role, self._step, self._shard.stopping)

    async def _step(self) -> None:
        await self._fire()
        self._role.works()
        await self._sleep()

    async def _fire(self) -> None:
        while not self._shard.stopping.is_set():
            self._nearer.clear()
            fired = await self._shard.committer.fire(_PAGE, self._patience_ms)
            self._due, self._ask_at = math.inf, time.monotonic() + _LONGEST_S
            self._reports.fired(fired)
            if fired.count < _PAGE:
                self.heard(fired.next_due, fired.now)
                self._looked_at = fired.now
                return

    async def _sleep(self) -> None:
        while not self._shard.stopping.is_set():
            self._nearer.clear()
            left = min(self._due, self._ask_at) + random.uniform(*_SPREAD_S) - time.monotonic()
            if left <= 0:
                return
            await pause(left, self._nearer)
