"""Takes over the entries of dead workers, and failed entries."""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING, Any, Final, Generic

from invites.events.entry import entries_of
from workers.aio.backoff import pause
from workers.consumer.source import Batch
from workers.consumer.ticket import Item
from workers.loops import Role, run_forever

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workers.consumer.source import Source

# For one call the server looks at ten times as many entries. 1,000 would stall a server that has 100,000 entries
# pending for 14 ms. Of large entries it takes fewer.
_PAGE: Final = 100
_PAGES: Final = 16  # in one round, when nothing is found in them
_TICK_S: Final = 1.0
_ALONE: Final = 10  # entries committed alone (1 to 2 ms each) before others have their turn
_FIRST: Final = "0-0"

_log = logging.getLogger(__name__)


class Reclaimer(Generic[Item]):
    """Claims entries that no worker has settled within `claimAfter`, in rounds of a second or less.

    No lock is needed: the idle time of an entry is the guard, and a claim restarts it. All workers do this, each at
    its own times.
    """

    def __init__(self, source: Source[Item]) -> None:
        self._source = source
        self._shard = source.shard
        self._role = Role(f"claiming {source.name}", source.shard)
        self._cursor = _FIRST
        self._tick_s = min(_TICK_S, source.shard.claim_after_ms / 3000)
        self._unsettled = source.shard.unsettled.setdefault(source.key, asyncio.Event())

    def wake(self) -> None:
        """Check now whether the shard is stopping."""
        self._unsettled.set()

    async def run(self) -> None:
        """Claim until the shard is stopping."""
        await run_forever(self._role, self._step, self._shard.stopping)

    async def _step(self) -> None:
        try:
            await self._round()
        except Exception:
            self._source.read_size.lost()
            raise
        self._role.works()
        await pause(self._tick_s * random.uniform(0.7, 1.0), self._shard.stopping)
        await self._wait_for_pending()

    async def _wait_for_pending(self) -> None:
        shard = self._shard
        while not shard.stopping.is_set() and (left := shard.nothing_to_claim_s(self._source.key)):
            await pause(left, self._unsettled)

    async def _round(self) -> None:
        for _ in range(_PAGES):
            room = self._source.room
            if room == 0:
                return
            found = await self._claim(min(_PAGE, room))
            if self._cursor == _FIRST or self._shard.stopping.is_set():
                return
            if not found:
                await asyncio.sleep(0)

    async def _claim(self, count: int) -> bool:
        source, shard = self._source, self._shard
        reply: list[Any] = await shard.commands.execute_command(
            b"XAUTOCLAIM",
            source.key,
            source.group,
            shard.worker.consumer,
            shard.claim_after_ms,
            self._cursor,
            "COUNT",
            count,
        )
        self._cursor = reply[0].decode()
        if reply[2]:
            await self._note_trimmed([entry.decode() for entry in reply[2]])
        claimed = [entry for entry in entries_of(reply[1]) if entry.id not in source.in_flight]
        if not claimed:
            return False
        shard.worker.metrics.claimed(len(claimed))
        _log.info(
            "Claimed %d entries of %s that no worker had settled for %d ms.",
            len(claimed),
            source.name,
            shard.claim_after_ms,
        )
        tickets = await source.take_on(await source.still_pending(claimed), alone=True)
        for start in range(0, len(tickets), _ALONE):
            if shard.stopping.is_set():
                break  # the rest is handed back
            await source.inbox.put(Batch(tickets[start : start + _ALONE]))
        return True

    async def _note_trimmed(self, ids: Sequence[str]) -> None:
        """Make dead letters of entries that were trimmed while pending. The claim has removed them from that list."""
        shard = self._shard
        shard.worker.metrics.dead_letters(len(ids))
        # All are logged first: a full server refuses dead letters, and nothing else remembers these entries.
        for entry in ids:
            _log.error("The entry %s was trimmed from %s before it was settled.", entry, self._source.name)
        for entry in ids:
            await shard.commands.xadd(
                shard.keys.dead,
                {
                    "type": "",
                    "payload": "",
                    "error": "the entry is empty: it was trimmed before it was settled",
                    "entry": entry,
                    "deliveries": 1,
                },
            )
