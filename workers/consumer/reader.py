"""Reads one stream of a shard, in order, for as long as the worker runs."""

from __future__ import annotations

import contextlib
import logging
import time
from typing import TYPE_CHECKING, Any, Final, Generic

from redis.exceptions import RedisError, ResponseError

from invites.connection.clients import BLOCK_MS
from invites.connection.ordered import OrderedClient
from invites.events.entry import entries_of
from workers.aio.backoff import pause
from workers.consumer.source import Batch
from workers.consumer.ticket import Item
from workers.loops import Role, run_forever

if TYPE_CHECKING:
    from invites.events.entry import Entry
    from workers.consumer.batch_size import BatchSize
    from workers.consumer.source import Source

_OWN_PAGE: Final = 100
_FULL_S: Final = 0.1

_log = logging.getLogger(__name__)


class Reader(Generic[Item]):
    """The read loop.

    At the start and after each fault it first reads what is already pending for this worker. A lost reply
    leaves its entries there, and no other worker would claim them before `claimAfter`.
    """

    def __init__(self, source: Source[Item], batch_size: BatchSize) -> None:
        self._source = source
        self._shard = source.shard
        self._role = Role(f"reading {source.name}", source.shard)
        self._batch_size = batch_size
        self._readiness = source.shard.worker.readiness
        self._readiness.expect(source.key)
        self._recovered = False
        self._reads = OrderedClient(source.reads)  # costs far less than redis-py's own way
        self._connection: int | None = None

    async def run(self) -> None:
        """Read until the shard is stopping."""
        await run_forever(self._role, self._step, self._shard.stopping)

    async def unblock(self) -> None:
        """End a read that waits on the server, so that a stop does not wait for it."""
        if self._connection is not None:
            with contextlib.suppress(RedisError, OSError):
                await self._shard.commands.client_unblock(self._connection)

    async def aclose(self) -> None:
        """Give the connection back, after `run` has ended or was cancelled."""
        await self._reads.aclose()

    async def _step(self) -> None:
        try:
            if not self._recovered:
                await self._recover()
                self._recovered = True
            await self._read_new()
        except Exception as error:
            self._recovered = False
            self._source.read_size.lost()
            self._readiness.lost(self._source.key, f"{type(error).__name__}: {error}")
            raise

    async def _recover(self) -> None:
        source, after = self._source, "0"
        await self._shard.ensure()
        while own := await self._read_own(after):
            after = own[-1].id
            stranded = [entry for entry in own if entry.id not in source.in_flight]
            if stranded:
                _log.info("Taking up %d entries of %s whose delivery was lost.", len(stranded), source.name)
                tickets = await source.take_on(await source.still_pending(stranded), alone=True)
                await source.inbox.put(Batch(tickets))
        self._completed()
        self._connection = None
        with contextlib.suppress(ResponseError):  # if the ACL denies it, a stop takes up to 2 s
            self._connection = await self._reads.execute_command("CLIENT ID")

    async def _read_own(self, after: str) -> list[Entry]:
        while not (room := self._source.room):
            await self._wait_for_room()
            if self._shard.stopping.is_set():
                return []
        return await self._read(after, min(_OWN_PAGE, room), block=False)

    async def _wait_for_room(self) -> None:
        await pause(_FULL_S, self._shard.stopping)
        self._readiness.read_completed(self._source.key)  # it could

    async def _read_new(self) -> None:
        if not self._source.room:
            await self._wait_for_room()
            return
        entries = await self._read(">", min(self._batch_size.value, self._source.room), block=True)
        self._completed()
        # The next read must not wait until these are decoded: between two commits the server answers one.
        if entries := self._source.begin(entries):
            await self._source.inbox.put(Batch([], entries, time.time_ns()))

    async def _read(self, after: str, count: int, *, block: bool) -> list[Entry]:
        waiting: tuple[str | int, ...] = ("BLOCK", BLOCK_MS) if block else ()
        source = self._source
        reply: list[Any] | None = await self._reads.execute_command(
            "XREADGROUP",
            "GROUP",
            source.group,
            self._shard.worker.consumer,
            "COUNT",
            count,
            *waiting,
            "STREAMS",
            source.key,
            after,
        )
        return entries_of(reply[0][1]) if reply else []

    def _completed(self) -> None:
        self._readiness.read_completed(self._source.key)
        self._role.works()
