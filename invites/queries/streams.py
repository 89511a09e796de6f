"""Reads stream entries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from redis.asyncio import Redis

_PAGE = 500


class StreamEntry(Struct, frozen=True):
    """One entry: its id, and its fields as bytes."""

    id: str
    fields: Mapping[bytes, bytes]

    @property
    def at(self) -> int:
        """When the entry was added (ms since 1970)."""
        return int(self.id.partition("-")[0])

    def text(self, name: bytes) -> str:
        """A field as text; "" when it is missing."""
        return self.fields.get(name, b"").decode(errors="replace")


def order(entry: str) -> tuple[int, int]:
    """An entry id as two numbers, for sorting."""
    ms, _, sequence = entry.partition("-")
    return int(ms), int(sequence or 0)


def entries_of(reply: Sequence[Any] | None) -> list[StreamEntry]:
    """The entries in a raw reply to XRANGE, or of one stream in a reply to XREAD."""
    return [
        StreamEntry(entry.decode(), dict(zip(flat[::2], flat[1::2], strict=True)) if flat else {})
        for entry, flat in reply or ()
    ]


async def read(
    client: Redis, stream: str, first: str = "-", last: str = "+", count: int = _PAGE
) -> list[StreamEntry]:
    """At most `count` entries from `first` to `last` (ids, `-` and `+`, or `(id` to exclude that id)."""
    # redis-py has no callback for a command name in bytes, so the reply stays raw.
    return entries_of(await client.execute_command(b"XRANGE", stream, first, last, b"COUNT", count))


async def newest(client: Redis, stream: str, count: int = 1) -> list[StreamEntry]:
    """The newest `count` entries, oldest first."""
    reply = await client.execute_command(b"XREVRANGE", stream, "+", "-", b"COUNT", count)
    return entries_of(reply)[::-1]


async def pages(client: Redis, stream: str, first: str = "-", last: str = "+") -> AsyncIterator[StreamEntry]:
    """All entries from `first` to `last`, read page by page."""
    while page := await read(client, stream, first, last):
        for entry in page:
            yield entry
        first = f"({page[-1].id}"
