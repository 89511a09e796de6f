"""Reads one stream of a shard, in its order, for as long as the worker lives."""

from __future__ import annotations

import contextlib
import logging
import time
from typing import TYPE_CHECKING, Any, Final, Generic

from redis.exceptions import RedisError, ResponseError

from invites.connection.clients import BLOCK_MS
from workers.aio.backoff import Backoff, pause
from workers.consumer.entries import counted, decode, entries_of
from workers.consumer.shard import Item, Work

if TYPE_CHECKING:
    from invites.events.operations import Entry
    from workers.consumer.batch_size import Pace
    from workers.consumer.shard import Feed
    from workers.telemetry.readiness import Readiness

_OWN_PAGE: Final = 100
_FULL_S: Final = 0.1

_log = logging.getLogger(__name__)


class Reader(Generic[Item]):
    """The read loop. It survives every exception, and ends only when the shard is `stopping`.

    At the start and after each fault it first reads what is pending for this worker already: a reply that was
    lost on its way leaves its entries there, and nobody else would look at them before the hand-over time.
    """

    def __init__(self, feed: Feed[Item], pace: Pace, readiness: Readiness) -> None:
        self._feed = feed
        self._shard = feed.shard
        self._role = f"reading {feed.name}"
        self._pace = pace
        self._readiness = readiness
        readiness.expect(feed.stream)
        self._connection: int | None = None
        self._was_at_the_end = False

    async def run(self) -> None:
        """Read until the shard is stopping."""
        shard, backoff, recovered = self._shard, Backoff(), False
        while not shard.stopping.is_set():
            try:
                if not recovered:
                    await self._recover()
                    recovered = True
                await self._read_new()
            except Exception as error:  # noqa: BLE001 - alive but deaf is the worst of all
                recovered = False
                self._survive(error)
                await backoff.wait(shard.stopping)
            else:
                backoff.reset()
        shard.caught_up.set()

    async def unblock(self) -> None:
        """End a read that waits on the server, so that a stop need not wait for it."""
        if self._connection is not None:
            with contextlib.suppress(RedisError, OSError):
                await self._shard.commands.client_unblock(self._connection)

    async def _recover(self) -> None:
        feed, after = self._feed, "0"
        await feed.group.ensure()
        while own := await self._read(after, _OWN_PAGE, block=False):
            after = own[-1].id
            stranded = [entry for entry in own if entry.id not in feed.progress]
            if stranded:
                _log.info("Taking up %d entries of %s whose delivery was lost.", len(stranded), feed.name)
                await self._hand_over(await counted(feed, stranded), alone=True)
        self._completed()
        self._connection = None
        with contextlib.suppress(ResponseError):  # not everybody may ask; a stop takes up to 2 s then
            self._connection = await feed.reads.client_id()

    async def _read_new(self) -> None:
        count = min(self._pace.size, self._feed.room)
        if count == 0:
            await pause(_FULL_S, self._shard.stopping)
            self._readiness.read_completed(self._feed.stream)  # it could
            return
        entries = await self._read(">", count, block=self._was_at_the_end)
        self._completed()
        catches_up = len(entries) < count and not self._was_at_the_end
        if entries or catches_up:
            await self._hand_over(entries, alone=False, catches_up=catches_up)
        self._was_at_the_end = self._was_at_the_end or catches_up

    async def _hand_over(self, entries: list[Entry], *, alone: bool, catches_up: bool = False) -> None:
        feed = self._feed
        feed.progress.begin([entry.id for entry in entries], time.monotonic())
        items = await decode(feed, entries)
        await feed.inbox.put(Work(items, alone, catches_up))

    async def _read(self, after: str, count: int, *, block: bool) -> list[Entry]:
        waiting: tuple[str | int, ...] = ("BLOCK", BLOCK_MS) if block else ()
        # As bytes, the name of the command has no callback in redis-py, which would spend 2 us on an entry.
        feed = self._feed
        reply: list[Any] | None = await feed.reads.execute_command(
            b"XREADGROUP",
            "GROUP",
            feed.group.name,
            self._shard.consumer,
            "COUNT",
            count,
            *waiting,
            "STREAMS",
            feed.stream,
            after,
        )
        return entries_of(reply[0][1]) if reply else []

    def _completed(self) -> None:
        self._readiness.read_completed(self._feed.stream)
        self._shard.outage.over(self._role)

    def _survive(self, error: Exception) -> None:
        self._readiness.lost(self._feed.stream, f"{type(error).__name__}: {error}")
        self._shard.outage.met(self._role, error)
