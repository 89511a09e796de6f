"""Reads stream entries."""

from __future__ import annotations

from typing import TYPE_CHECKING

from invites.events.entry import Entry, entries_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from redis.asyncio import Redis

_PAGE = 500


async def read(
    client: Redis, stream: str, first: str = "-", last: str = "+", count: int = _PAGE
) -> list[Entry]:
    """At most `count` entries from `first` to `last` (ids, `-` and `+`, or `(id` for the one behind it)."""
    # As bytes, the name of the command has no callback in redis-py: the reply stays as it came.
    return entries_of(await client.execute_command(b"XRANGE", stream, first, last, b"COUNT", count))


async def newest(client: Redis, stream: str, count: int = 1) -> list[Entry]:
    """The newest `count` entries, the oldest of them first."""
    reply = await client.execute_command(b"XREVRANGE", stream, "+", "-", b"COUNT", count)
    return entries_of(reply)[::-1]


async def pages(client: Redis, stream: str, first: str = "-", last: str = "+") -> AsyncIterator[Entry]:
    """All entries from `first` to `last`, read page by page."""
    while page := await read(client, stream, first, last):
        for entry in page:
            yield entry
        first = f"({page[-1].id}"
