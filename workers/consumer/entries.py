"""Handles entries before their commit: decodes them, counts their bytes, looks them up in the pending list."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

import msgspec

from workers.consumer.ticket import Ticket

if TYPE_CHECKING:
    from collections.abc import Sequence

    from invites.events.entry import Entry
    from workers.consumer.source import Source
    from workers.consumer.ticket import Item

# Decoding 32 events takes some 0.3 ms. The answer of a commit may wait that long before the next commit is sent.
_SLICE: Final = 8


def begin(source: Source[Item], entries: Sequence[Entry]) -> list[Entry]:
    """Begin work on entries: they are kept from other workers, and their bytes count. Returns those not in hand yet.

    The recovering reader and the reclaimer may find the same entries. The first to begin them has them.
    """
    entries = [entry for entry in entries if entry.id not in source.in_flight]
    sizes = {entry.id: entry.size for entry in entries}
    source.in_flight.begin(sizes, time.monotonic())
    source.read_size.read(max(sizes.values(), default=0))
    return entries


async def decoded(
    source: Source[Item], entries: Sequence[Entry], *, alone: bool, read: int = 0
) -> list[Ticket[Item]]:
    """Decode entries that were begun, in their order. Other tasks run in between.

    `read` is when they were read (ns since 1970), for spans; 0: now.
    """
    tickets: list[Ticket[Item]] = []
    spans = source.shard.worker.spans
    for start in range(0, len(entries), _SLICE):
        if start:
            await asyncio.sleep(0)
        for entry in entries[start : start + _SLICE]:
            ticket: Ticket[Item] = Ticket(entry.id, source.in_flight, alone=alone)
            began = time.time_ns() if spans is not None else 0
            try:
                ticket.item = source.decode(entry)
            except Exception as error:  # noqa: BLE001 - one entry must not take others with it
                ticket.leave("The entry %s cannot be decoded.", entry.id, error=error)
            else:
                tickets.append(ticket)
                if spans is not None:
                    spans.taken(source.shard.keys.shard, entry, ticket.item, read or began, time.time_ns())
    return tickets


async def take_on(source: Source[Item], entries: Sequence[Entry], *, alone: bool) -> list[Ticket[Item]]:
    """Begin work on entries, and decode them."""
    return await decoded(source, begin(source, entries), alone=alone)


async def still_pending(source: Source[Item], entries: Sequence[Entry]) -> list[Entry]:
    """The entries that are still pending for this worker, in the order of the stream, with their true deliveries."""
    if not entries:
        return []
    # Between the first and the last there may be others that this worker is working on.
    most = len(entries) + len(source.in_flight)
    times = dict(await own_pending(source, entries[0].id, entries[-1].id, most))
    return [
        msgspec.structs.replace(entry, deliveries=times[entry.id]) for entry in entries if entry.id in times
    ]


async def own_pending(source: Source[Item], first: str, last: str, most: int) -> list[tuple[str, int]]:
    """The entries pending for this worker from `first` to `last`: id and deliveries of at most `most`."""
    # As bytes, the name of a command has no callback in redis-py, and the reply stays as it came.
    shard = source.shard
    reply: list[Any] = await shard.commands.execute_command(
        b"XPENDING", source.key, source.group, first, last, most, shard.worker.consumer
    )
    return [(entry.decode(), times) for entry, _, _, times in reply]
