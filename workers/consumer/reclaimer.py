"""Takes up what dead workers left and what has failed."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from typing import TYPE_CHECKING, Any, Final, Generic

from invites.connection.errors import is_no_group
from workers.aio.backoff import Backoff, pause
from workers.consumer.entries import counted, decode, entries_of
from workers.consumer.shard import Item, Work

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workers.consumer.shard import Feed
    from workers.telemetry.metrics import Metrics

# The server looks at ten times as many entries for one call. 1,000 would stall a server that has 100,000 of them
# pending for 14 ms.
_PAGE: Final = 100
_PAGES: Final = 16  # in one round, when nothing is found in them
_TICK_S: Final = 1.0
_ALONE: Final = 10  # entries committed alone (1 to 2 ms each) before it is the turn of others
_FIRST: Final = "0-0"

_log = logging.getLogger(__name__)


class Claims(Generic[Item]):
    """Claims what nobody has settled for the hand-over time, in rounds of a second or less.

    No lock: the idle time of an entry is the guard, and a claim starts it anew. All workers do this, each at
    times of its own.
    """

    def __init__(self, feed: Feed[Item], metrics: Metrics) -> None:
        self._metrics = metrics
        self._feed = feed
        self._shard = feed.shard
        self._role = f"claiming {feed.name}"
        self._cursor = _FIRST
        self._tick_s = min(_TICK_S, feed.shard.claim_after_ms / 3000)

    async def run(self) -> None:
        """Claim until the shard is stopping."""
        shard, backoff = self._shard, Backoff()
        while not shard.stopping.is_set():
            try:
                await self._round()
            except Exception as error:  # noqa: BLE001 - the next round may work
                await self._survive(error)
                await backoff.wait(shard.stopping)
            else:
                shard.outage.over(self._role)
                backoff.reset()
                await pause(self._tick_s * random.uniform(0.7, 1.0), shard.stopping)

    async def _round(self) -> None:
        for _ in range(_PAGES):
            if self._feed.room < _PAGE:
                return
            found = await self._claim()
            if self._cursor == _FIRST or self._shard.stopping.is_set():
                return
            if not found:
                await asyncio.sleep(0)

    async def _claim(self) -> bool:
        feed, shard = self._feed, self._shard
        reply: list[Any] = await shard.commands.execute_command(
            b"XAUTOCLAIM",
            feed.stream,
            feed.group.name,
            shard.consumer,
            shard.claim_after_ms,
            self._cursor,
            "COUNT",
            _PAGE,
        )
        self._cursor = reply[0].decode()
        if reply[2]:
            await self._bury([entry.decode() for entry in reply[2]])
        claimed = [entry for entry in entries_of(reply[1]) if entry.id not in feed.progress]
        if not claimed:
            return False
        self._metrics.claimed(len(claimed))
        _log.info(
            "Claimed %d entries of %s that nobody had settled for %d ms.",
            len(claimed),
            feed.name,
            shard.claim_after_ms,
        )
        claimed = await counted(feed, claimed)
        feed.progress.begin([entry.id for entry in claimed], time.monotonic())
        items = await decode(feed, claimed)
        for start in range(0, len(items), _ALONE):
            if shard.stopping.is_set():
                break  # the rest is handed back
            await feed.inbox.put(Work(items[start : start + _ALONE], alone=True))
        return True

    async def _bury(self, ids: Sequence[str]) -> None:
        """Say what is lost: entries that were trimmed while pending. The claim has taken them off the pending list."""
        self._metrics.dead_letters(len(ids))
        for entry in ids:
            _log.error("The entry %s was trimmed from %s before it was settled.", entry, self._feed.name)
            await self._shard.commands.xadd(
                self._shard.keys.dead,
                {
                    "type": "",
                    "payload": "",
                    "error": "the entry is empty: it was trimmed before it was settled",
                    "entry": entry,
                    "deliveries": 1,
                },
            )

    async def _survive(self, error: Exception) -> None:
        shard = self._shard
        shard.outage.met(self._role, error)
        if is_no_group(error):
            try:
                await self._feed.group.ensure()
            except Exception as again:  # noqa: BLE001 - as above
                shard.outage.met(self._role, again)
