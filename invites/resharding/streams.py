"""Reads the unsettled entries of a stream while no worker takes any."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from invites.queries.streams import StreamEntry, pages
from invites.resharding.shard_map import PAGE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from invites.keys import Keys
    from invites.resharding.shard_map import ShardMap
    from invites.store.commit import Source


async def delivered(shard_map: ShardMap, keys: Keys, source: Source) -> AsyncIterator[list[StreamEntry]]:
    """Pages of the entries that a worker has taken and not settled, without trimmed ones."""
    stream, first = source.stream(keys), "-"
    if not await _group(shard_map, keys, source):
        return
    while True:
        asked = ("XPENDING", stream, source.group, first, "+", PAGE)
        (pending,) = await shard_map.execute([(keys.shard, asked)])
        if not pending:
            return
        ids = [entry.decode() for entry, *_ in pending]
        found = await shard_map.execute((keys.shard, ("XRANGE", stream, entry, entry)) for entry in ids)
        yield [
            StreamEntry(entry, dict(zip(flat[::2], flat[1::2], strict=True)))
            for entry, page in zip(ids, found, strict=True)
            for _, flat in page
        ]
        first = f"({ids[-1]}"


async def unread(shard_map: ShardMap, keys: Keys, source: Source) -> AsyncIterator[StreamEntry]:
    """The entries that no worker has taken; the whole stream when there is no group."""
    group = await _group(shard_map, keys, source)
    first = f"({group['last-delivered-id'].decode()}" if group else "-"
    async for entry in pages(shard_map.client(keys.shard), source.stream(keys), first):
        yield entry


async def _group(shard_map: ShardMap, keys: Keys, source: Source) -> Any:  # noqa: ANN401 - as redis-py gives it
    client, stream = shard_map.client(keys.shard), source.stream(keys)
    if not await client.exists(stream):
        return None
    groups = await client.xinfo_groups(stream)
    return next((one for one in groups if one["name"] == source.group.encode()), None)
