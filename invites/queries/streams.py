"""Reads stream entries."""

from __future__ import annotations

from typing import TYPE_CHECKING

from invites.events.entry import Entry, entries_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from redis.asyncio import Redis

_PAGE = 500
_LAST_ID = f"{2**64 - 1}-{2**64 - 1}"


def after(entry: str) -> tuple[str, str]:
    """The first and last of all entries after `entry`, as XRANGE takes them.

    The server refuses a range after the last possible id, so that is an empty one.
    """
    return ("+", "-") if entry == _LAST_ID else (f"({entry}", "+")


async def read(
    client: Redis, stream: str, first: str = "-", last: str = "+", count: int = _PAGE
) -> list[Entry]:
    """At most `count` entries from `first` to `last` (ids, `-` and `+`, or `(id` to exclude that id)."""
    # redis-py has no callback for a command name in bytes, so the reply stays raw.
    return entries_of(await client.execute_command(b"XRANGE", stream, first, last, b"COUNT", count))


async def newest(client: Redis, stream: str, count: int = 1) -> list[Entry]:
    """The newest `count` entries, oldest first."""
    reply = await client.execute_command(b"XREVRANGE", stream, "+", "-", b"COUNT", count)
    return entries_of(reply)[::-1]


async def pages(client: Redis, stream: str, first: str = "-", last: str = "+") -> AsyncIterator[Entry]:
    """All entries from `first` to `last`, read page by page."""
    while page := await read(client, stream, first, last):
        for entry in page:
            yield entry
        if page[-1].id == _LAST_ID:
            return
        first, _ = after(page[-1].id)
