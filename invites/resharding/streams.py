"""Reads the unsettled entries of a stream, and drops the others, while no worker takes any."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from invites.events.entry import Entry, entries_of
from invites.queries.streams import after, pages, read
from invites.resharding.shard_map import PAGE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from invites.keys import Keys, Stream
    from invites.resharding.shard_map import ShardMap


async def delivered(shard_map: ShardMap, keys: Keys, of: Stream) -> AsyncIterator[list[Entry]]:
    """Pages of the entries that a worker has taken and not settled, without trimmed ones."""
    stream, first = of.key(keys), "-"
    if not await _group(shard_map, keys, of):
        return
    while True:
        asked = ("XPENDING", stream, of.group, first, "+", PAGE)
        (pending,) = await shard_map.execute([(keys.shard, asked)])
        if not pending:
            return
        ids = [entry.decode() for entry, *_ in pending]
        found = await shard_map.execute((keys.shard, ("XRANGE", stream, entry, entry)) for entry in ids)
        yield [entry for page in found for entry in entries_of(page)]
        first = f"({ids[-1]}"


async def unread(shard_map: ShardMap, keys: Keys, of: Stream) -> AsyncIterator[Entry]:
    """The entries that no worker has taken; the whole stream when there is no group."""
    group = await _group(shard_map, keys, of)
    first = f"({group['last-delivered-id'].decode()}" if group else "-"
    async for entry in pages(shard_map.client(keys.shard), of.key(keys), first):
        yield entry


async def drop_settled(shard_map: ShardMap, keys: Keys, of: Stream) -> None:
    """Delete the entries that are settled and still there."""
    group = await _group(shard_map, keys, of)
    if not group:
        return
    client, stream, first = shard_map.client(keys.shard), of.key(keys), "-"
    while entries := await read(client, stream, first, group["last-delivered-id"].decode(), PAGE):
        bounds = (entries[0].id, entries[-1].id, len(entries))
        (pending,) = await shard_map.execute([(keys.shard, ("XPENDING", stream, of.group, *bounds))])
        unsettled = {entry.decode() for entry, *_ in pending}
        settled = [entry.id for entry in entries if entry.id not in unsettled]
        if settled:
            await shard_map.execute([(keys.shard, ("XDEL", stream, *settled))])
        first, _ = after(entries[-1].id)


async def _group(shard_map: ShardMap, keys: Keys, of: Stream) -> Any:  # noqa: ANN401 - as redis-py gives it
    client, stream = shard_map.client(keys.shard), of.key(keys)
    if not await client.exists(stream):
        return None
    groups = await client.xinfo_groups(stream)
    return next((one for one in groups if one["name"] == of.group.encode()), None)
