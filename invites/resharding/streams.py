"""What is not settled in a stream of a shard, read while nobody takes any of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from invites.events.entry import Entry, entries_of
from invites.queries.streams import pages
from invites.resharding.shard_map import PAGE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from invites.keys import Keys, Stream
    from invites.resharding.shard_map import Places


async def delivered(places: Places, keys: Keys, of: Stream) -> AsyncIterator[list[Entry]]:
    """Pages of the entries that some worker has taken and not settled, without those that were trimmed."""
    stream, first = of.key(keys), "-"
    if not await _group(places, keys, of):
        return
    while True:
        asked = ("XPENDING", stream, of.group, first, "+", PAGE)
        (pending,) = await places.ask([(keys.shard, asked)])
        if not pending:
            return
        ids = [entry.decode() for entry, *_ in pending]
        found = await places.ask((keys.shard, ("XRANGE", stream, entry, entry)) for entry in ids)
        yield [entry for page in found for entry in entries_of(page)]
        first = f"({ids[-1]}"


async def unread(places: Places, keys: Keys, of: Stream) -> AsyncIterator[Entry]:
    """The entries that no worker has taken yet; all of the stream when no worker has made the group."""
    group = await _group(places, keys, of)
    first = f"({group['last-delivered-id'].decode()}" if group else "-"
    async for entry in pages(places.client(keys.shard), of.key(keys), first):
        yield entry


async def _group(places: Places, keys: Keys, of: Stream) -> Any:  # noqa: ANN401 - as redis-py gives it
    client, stream = places.client(keys.shard), of.key(keys)
    if not await client.exists(stream):
        return None
    groups = await client.xinfo_groups(stream)
    return next((one for one in groups if one["name"] == of.group.encode()), None)
