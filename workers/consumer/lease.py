"""Keeps what this worker has from being claimed by others, and hands back what it cannot finish."""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING, Final, Generic

from invites.connection.errors import is_no_group
from workers.aio.backoff import Backoff, pause
from workers.consumer.entries import own_pending
from workers.consumer.shard import Item

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workers.consumer.shard import Feed

_PAGE: Final = 100
_TICK_S: Final = 1.0


class Renewal(Generic[Item]):
    """Renews what takes long, in rounds of a second or less.

    It begins at a third of the hand-over time; a round comes after another third at the latest.
    """

    def __init__(self, feed: Feed[Item]) -> None:
        self._feed = feed
        self._shard = feed.shard
        self._role = f"renewing {feed.name}"
        self._tick_s = min(_TICK_S, feed.shard.claim_after_ms / 3000)
        self._over = asyncio.Event()

    def end(self) -> None:
        """Nothing is left to be renewed, and nothing will come."""
        self._over.set()

    async def run(self) -> None:
        """Renew until the end, which is not before what was begun is settled."""
        shard, backoff = self._shard, Backoff()
        while not self._over.is_set():
            try:
                await self._renew()
            except Exception as error:  # noqa: BLE001 - the next round may work
                # Without the group there is nothing to keep; reading makes it again.
                if not is_no_group(error):
                    shard.outage.met(self._role, error)
                await backoff.wait(self._over)
            else:
                shard.outage.over(self._role)
                backoff.reset()
                await pause(self._tick_s * random.uniform(0.7, 1.0), self._over)

    async def hand_back(self) -> int:
        """Make all that is pending for this worker old enough to be claimed at once; says how much that was."""
        after, count = "-", 0
        while pending := await own_pending(self._feed, after, "+", _PAGE):
            ids = [entry for entry, _ in pending]
            await self._keep(ids, idle_ms=self._shard.claim_after_ms)
            after = f"({ids[-1]}"
            count += len(ids)
        return count

    async def _renew(self) -> None:
        now = time.monotonic()
        aged = self._feed.progress.renew(now - self._shard.claim_after_ms / 3000, now)
        for start in range(0, len(aged), _PAGE):
            await self._keep(aged[start : start + _PAGE], idle_ms=0)

    async def _keep(self, ids: Sequence[str], *, idle_ms: int) -> None:
        # JUSTID: it is not one more delivery.
        await self._shard.commands.execute_command(
            "XCLAIM",
            self._feed.stream,
            self._feed.group.name,
            self._shard.consumer,
            0,
            *ids,
            "IDLE",
            idle_ms,
            "JUSTID",
            parse_justid=True,
        )
