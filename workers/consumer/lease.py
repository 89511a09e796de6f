"""Keeps the entries of this worker from being claimed by others, and hands back those that it cannot finish."""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING, Final, Generic

from workers.consumer.ticket import Item
from workers.loops import Role, run_forever

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workers.consumer.source import Source

_PAGE: Final = 100
_TICK_S: Final = 1.0


class Lease(Generic[Item]):
    """Renews the claims on entries that take long, in rounds of a second or less.

    An entry is due for renewal after a third of `claimAfter`. A round renews it within another third.
    """

    def __init__(self, source: Source[Item]) -> None:
        self._source = source
        self._shard = source.shard
        self._role = Role(f"renewing {source.name}", source.shard)
        self._tick_s = min(_TICK_S, source.shard.claim_after_ms / 3000)

    async def run(self) -> None:
        """Renew until cancelled: other loops settle the entries in flight while the shard is stopping."""
        await run_forever(self._role, self._step)

    async def hand_back(self) -> int:
        """Make all entries pending for this worker old enough to be claimed at once. Returns how many."""
        after, count = "-", 0
        while pending := await self._source.own_pending(after, "+", _PAGE):
            ids = [entry for entry, _ in pending]
            await self._keep(ids, idle_ms=self._shard.claim_after_ms)
            after = f"({ids[-1]}"
            count += len(ids)
        return count

    async def _step(self) -> None:
        await self._renew()
        self._role.works()
        await asyncio.sleep(self._tick_s * random.uniform(0.7, 1.0))
        await self._source.in_flight.wait_for_one()

    async def _renew(self) -> None:
        now = time.monotonic()
        aged = self._source.in_flight.renew(now - self._shard.claim_after_ms / 3000, now)
        for start in range(0, len(aged), _PAGE):
            await self._keep(aged[start : start + _PAGE], idle_ms=0)

    async def _keep(self, ids: Sequence[str], *, idle_ms: int) -> None:
        # JUSTID: a renewal does not count as a delivery.
        await self._shard.commands.execute_command(
            "XCLAIM",
            self._source.key,
            self._source.group,
            self._shard.worker.consumer,
            0,
            *ids,
            "IDLE",
            idle_ms,
            "JUSTID",
            parse_justid=True,
        )
