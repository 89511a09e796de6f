"""One stream of a shard as this worker consumes it, and the entries that it has read and not settled."""

from __future__ import annotations

import asyncio
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Generic

import msgspec

from workers.consumer.budget import ReadSize
from workers.consumer.ticket import InFlight, Item, Ticket

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from redis.asyncio import Redis

    from invites.events.entry import Entry
    from invites.keys import Stream
    from workers.consumer.shard import Shard


# Decoding 32 events takes some 0.3 ms. The answer of a commit may wait that long before the next commit is sent.
_SLICE: Final = 8
# One batch waits while others are committed. That keeps the server busy, and leaves little to hand back.
_WAITING_BATCHES: Final = 1
_HALF: Final = 32  # entries; a read takes 64 at most


@dataclass(slots=True)
class Batch(Generic[Item]):
    """Entries to be committed together, except for those that go alone.

    The reader has begun `entries` and read them at `read` (ns since 1970); `next_batch` decodes them.
    """

    tickets: list[Ticket[Item]]
    entries: Sequence[Entry] = ()
    read: int = 0


@dataclass(slots=True)
class Source(Generic[Item]):
    """One stream of a shard, consumed in its consumer group: its `name`, its `key`, and the `group` of the workers.

    `reads` is a client for blocking reads alone. `decode` never raises because of an entry's content: such an entry
    becomes a dead letter. Batches wait in the `inbox` for the role that settles them; None there says that no more will
    come, and `ended` is set when the role has reached it. While `most` entries are in flight, or their bytes exceed the
    worker's budget, no more are taken in.
    """

    shard: Shard
    stream: Stream
    reads: Redis
    decode: Callable[[Entry], Item]
    most: int = sys.maxsize
    name: str = field(init=False)
    key: str = field(init=False)
    group: str = field(init=False)
    in_flight: InFlight = field(init=False)
    read_size: ReadSize = field(init=False)
    inbox: asyncio.Queue[Batch[Item] | None] = field(default_factory=lambda: asyncio.Queue(_WAITING_BATCHES))
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    _taking: asyncio.Lock = field(default_factory=asyncio.Lock)
    _rest: Batch[Item] | None = None
    _taken: int = 0

    def __post_init__(self) -> None:
        self.name = self.stream.value
        self.key = self.stream.key(self.shard.keys)
        self.group = self.stream.group
        self.in_flight = InFlight(self.shard.worker.budget)
        self.read_size = ReadSize(self.shard.worker.budget)

    @property
    def room(self) -> int:
        """How many entries the next read may take.

        A stream with nothing in flight may always read one: an entry larger than the budget gets through, and no stream
        starves while others use up the budget.
        """
        in_flight = len(self.in_flight)
        return max(0, min(self.most - in_flight, self.read_size.value or int(in_flight == 0)))

    def next_batch(self, at_once: int = 0) -> TakenBatch[Item]:
        """Wait for a batch and see it settled. An error leaves its entries; the last batch of all is empty.

        A role may wait more than once at the same time: the batches come in order. While it has fewer than
        `at_once` of them, a full one is halved: the server begins sooner, and it answers a read after each half, so
        the reader gets ahead.
        """
        return TakenBatch(self, at_once)

    async def take(self, at_once: int) -> Batch[Item]:
        """The next batch, decoded."""
        async with self._taking:
            rest, self._rest = self._rest, None
            batch = rest or await self.inbox.get()
            if batch is None:
                self.ended.set()
                self.inbox.put_nowait(None)
                batch = Batch([])
            elif batch.entries:
                if self._taken < at_once and len(batch.entries) > _HALF:
                    self._rest = Batch([], batch.entries[_HALF:], batch.read)
                    batch.entries = batch.entries[:_HALF]
                batch.tickets += await self._decoded(batch.entries, alone=False, read=batch.read)
        self._taken += 1
        return batch

    def give_up(self, batch: Batch[Item], error: type[BaseException] | None) -> None:
        """A role has done with a batch that it took. An error leaves what is not settled of it."""
        self._taken -= 1
        if error is not None and issubclass(error, Exception):
            for ticket in batch.tickets:
                ticket.leave()

    def begin(self, entries: Sequence[Entry]) -> list[Entry]:
        """Begin work on entries: the lease keeps them, and their bytes count. Returns those not in hand yet.

        The recovering reader and the reclaimer may find the same entries. The first to begin them has them.
        """
        entries = [entry for entry in entries if entry.id not in self.in_flight]
        sizes = {entry.id: entry.size for entry in entries}
        self.in_flight.begin(sizes, time.monotonic())
        self.read_size.read(max(sizes.values(), default=0))
        return entries

    async def take_on(self, entries: Sequence[Entry], *, alone: bool) -> list[Ticket[Item]]:
        """Begin work on entries, and decode them."""
        return await self._decoded(self.begin(entries), alone=alone)

    async def still_pending(self, entries: Sequence[Entry]) -> list[Entry]:
        """The entries that are still pending for this worker, in order, with their true deliveries."""
        if not entries:
            return []
        # Between the first and the last there may be others that this worker is working on.
        most = len(entries) + len(self.in_flight)
        times = dict(await self.own_pending(entries[0].id, entries[-1].id, most))
        return [
            msgspec.structs.replace(entry, deliveries=times[entry.id])
            for entry in entries
            if entry.id in times
        ]

    async def own_pending(self, first: str, last: str, most: int) -> list[tuple[str, int]]:
        """The entries pending for this worker from `first` to `last`: id and deliveries of at most `most`."""
        # As bytes, the name of a command has no callback in redis-py, and the reply stays as it came.
        shard = self.shard
        reply: list[Any] = await shard.commands.execute_command(
            b"XPENDING", self.key, self.group, first, last, most, shard.worker.consumer
        )
        return [(entry.decode(), times) for entry, _, _, times in reply]

    async def _decoded(self, entries: Sequence[Entry], *, alone: bool, read: int = 0) -> list[Ticket[Item]]:
        """Decode entries that were begun, in their order. Other tasks run in between.

        `read` is when they were read (ns since 1970), for spans; 0: now.
        """
        tickets: list[Ticket[Item]] = []
        spans = self.shard.worker.spans
        for start in range(0, len(entries), _SLICE):
            if start:
                await asyncio.sleep(0)
            for entry in entries[start : start + _SLICE]:
                ticket: Ticket[Item] = Ticket(entry.id, self.in_flight, alone=alone)
                began = time.time_ns() if spans is not None else 0
                try:
                    ticket.item = self.decode(entry)
                except Exception as error:  # noqa: BLE001 - one entry must not take others with it
                    ticket.leave("The entry %s cannot be decoded.", entry.id, error=error)
                else:
                    tickets.append(ticket)
                    if spans is not None:
                        spans.taken(self.shard.keys.shard, entry, ticket.item, read or began, time.time_ns())
        return tickets


class TakenBatch(Generic[Item]):
    """A batch while a role settles it: `async with source.next_batch() as batch`."""

    __slots__ = ("_at_once", "_batch", "_source")

    _batch: Batch[Item]

    def __init__(self, source: Source[Item], at_once: int) -> None:
        self._source = source
        self._at_once = at_once

    async def __aenter__(self) -> Batch[Item]:
        self._batch = await self._source.take(self._at_once)
        return self._batch

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._source.give_up(self._batch, kind)
