"""Stream entries as they come from the server, and what becomes of them before the commit."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final

import msgspec

from invites.events.operations import Entry

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from workers.consumer.shard import Feed, Item

# Decoding 32 events takes some 0.3 ms. So long may the answer of a commit wait before the next one is sent.
_SLICE: Final = 8

_log = logging.getLogger(__name__)


def entries_of(raw: Iterable[Any]) -> list[Entry]:
    """The entries of a raw reply `[[id, [field, value, …]], …]`.

    The fields of an entry that was trimmed while it was pending are nil there, and None here.
    """
    return [
        Entry(entry.decode(), dict(zip(flat[::2], flat[1::2], strict=True)) if flat else None)
        for entry, flat in raw
    ]


async def decode(feed: Feed[Item], entries: Sequence[Entry]) -> list[Item]:
    """What the entries ask for, in their order. Lets other tasks run in between."""
    items: list[Item] = []
    for start in range(0, len(entries), _SLICE):
        for entry in entries[start : start + _SLICE]:
            try:
                items.append(feed.decode(entry))
            except Exception:  # noqa: BLE001 - one entry must not take others with it
                # It stays pending and comes back until it has failed too often; others go on meanwhile.
                _log.exception("The entry %s cannot be decoded.", entry.id)
                feed.progress.end(entry.id)
        await asyncio.sleep(0)
    return items


async def counted(feed: Feed[Item], entries: Sequence[Entry]) -> list[Entry]:
    """The same entries, pending for this worker and in the order of the stream, with their true deliveries."""
    if not entries:
        return []
    # Between the first and the last there may be others that this worker is at work on.
    most = len(entries) + len(feed.progress)
    times = dict(await own_pending(feed, entries[0].id, entries[-1].id, most))
    return [msgspec.structs.replace(entry, deliveries=times.get(entry.id, 1)) for entry in entries]


async def own_pending(feed: Feed[Item], first: str, last: str, most: int) -> list[tuple[str, int]]:
    """What is pending for this worker from `first` to `last`: id and deliveries of `most` entries at the most."""
    # As bytes, the name of a command has no callback in redis-py: the reply stays as it came.
    shard = feed.shard
    reply: list[Any] = await shard.commands.execute_command(
        b"XPENDING", feed.stream, feed.group.name, first, last, most, shard.consumer
    )
    return [(entry.decode(), times) for entry, _, _, times in reply]
