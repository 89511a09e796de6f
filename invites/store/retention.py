"""Drops notifications and dead letters that are too old or too many, even if a group has not acknowledged them.

These are plain commands and not a function of the server: nothing here must be atomic, and each function of the library
costs every call a little, since the collector marks it. A full server allows XTRIM.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from redis.exceptions import ResponseError

from invites.connection.errors import ErrorKind, classify
from invites.queries.streams import after

if TYPE_CHECKING:
    from redis.asyncio import Redis

_PAGE: Final = 10_000  # how many entries one command drops at most
_SAMPLES: Final = 16
# Bytes that the server needs for an entry beside its values, and for a value beside its text. Measured with MEMORY
# USAGE, which the worker's user may not run.
_ENTRY: Final = 48
_VALUE: Final = 4


class Dropped(msgspec.Struct, frozen=True):
    """How many entries were dropped. `groups` had not acknowledged all of them: names as the server has them."""

    count: int
    groups: frozenset[bytes] = frozenset()


async def retain(client: Redis, stream: str, age: int, size: int | None) -> Dropped:
    """Drop the entries of a stream that are older than `age` (ms).

    If there are none, drop the oldest ones until the rest takes about `size` bytes (None: any number). Raises redis
    exceptions.
    """
    first = await _first(client, stream)
    if first is None:
        return Dropped(0)
    seconds, _ = await client.time()
    now = seconds * 1000
    oldest, start = max(0, now - age), int(first.partition(b"-")[0])
    most = 0
    if start >= oldest:
        if size is None:
            return Dropped(0)
        most = int(size / await _average_size(client, stream, start, now))
        if await client.xlen(stream) <= most:
            return Dropped(0)

    needed = await _needed(client, stream, first)
    bound: dict[str, Any] = {"maxlen": most} if start >= oldest else {"minid": oldest}
    count = 0
    while went := await client.xtrim(stream, approximate=True, limit=_PAGE, **bound):
        count += went
    if start < oldest:
        # An approximate trim drops whole nodes only. The rest of the last node is cheap.
        count += await client.xtrim(stream, approximate=False, **bound)
    first = await _first(client, stream)
    behind = (name for name, entry in needed.items() if first is None or _order(entry) < _order(first))
    return Dropped(count, frozenset(behind))


async def _first(client: Redis, stream: str) -> bytes | None:
    """The id of the first entry."""
    found: Any = await client.xrange(stream, count=1)
    return found[0][0] if found else None


async def _average_size(client: Redis, stream: str, start: int, now: int) -> float:
    """The bytes of an entry, from samples that are spread evenly over the time since `start` (ms since 1970)."""
    async with client.pipeline(transaction=False) as pipe:
        for number in range(_SAMPLES):
            pipe.xrange(stream, min=start + max(0, now - start) * number // _SAMPLES, count=1)
        found = [fields for entries in await pipe.execute() for _, fields in entries]
    sizes = [_ENTRY + sum(_VALUE + len(value) for value in fields.values()) for fields in found]
    return sum(sizes) / len(sizes)


async def _needed(client: Redis, stream: str, first: bytes) -> dict[bytes, bytes]:
    """The first entry that a group still needs, by name of the group."""
    try:
        groups = await client.xinfo_groups(stream)
    except ResponseError as error:
        if classify(error) is ErrorKind.NO_GROUP:
            return {}
        raise
    async with client.pipeline(transaction=False) as pipe:
        for group in groups:
            pipe.xpending_range(stream, group["name"], min=first, max="+", count=1)
            start, end = after(group["last-delivered-id"].decode())
            pipe.xrange(stream, min=start, max=end, count=1)
        replies = await pipe.execute(raise_on_error=False)
    found = {}
    for group, pending, unread in zip(groups, replies[0::2], replies[1::2], strict=True):
        if isinstance(pending, Exception):
            continue  # removed a moment ago
        if pending:
            found[group["name"]] = pending[0]["message_id"]
        elif unread:
            found[group["name"]] = unread[0][0]
    return found


def _order(entry: bytes) -> tuple[int, int]:
    ms, _, sequence = entry.partition(b"-")
    return int(ms), int(sequence)
