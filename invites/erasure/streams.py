"""Erases entries of streams that name a user, once every group has settled them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import ResponseError

from invites.connection.errors import ErrorKind, classify
from invites.erasure.keys import PAGE
from invites.events.entry import order
from invites.queries.streams import after, read

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from invites.erasure.person import Person
    from invites.erasure.report import Tally
    from invites.events.entry import Entry


async def erase_entries(
    client: Redis, stream: str, name: str, person: Person, tally: Tally, *, dry_run: bool
) -> None:
    """Go through the stream page by page. Counts as `name`. Raises redis exceptions."""
    first = "-"
    while page := await read(client, stream, first, count=PAGE):
        found = [entry for entry in page if _names(person, entry)]
        settled = await _settled(client, stream, found) if found else []
        tally.left[name] += len(found) - len(settled)
        tally.deleted[name] += len(settled)
        if settled and not dry_run:
            await client.xdel(stream, *settled)
        first, last = after(page[-1].id)
        if last == "-":
            return


# Words of the contract, and ids of entries.
_OF_NOBODY: Final = frozenset({b"type", b"id", b"kind", b"stream", b"entry", b"deliveries"})


def _names(person: Person, entry: Entry) -> bool:
    return any(person.is_in_value(value) for name, value in entry.fields.items() if name not in _OF_NOBODY)


async def _settled(client: Any, stream: str, entries: list[Entry]) -> list[str]:  # noqa: ANN401
    """The ids that no group has to read or to acknowledge any more. Such an entry never becomes pending again."""
    try:
        groups = await client.xinfo_groups(stream)
    except ResponseError as error:
        if classify(error) is ErrorKind.NO_GROUP:
            return []
        raise
    ids = [entry.id for entry in entries]
    for group in groups:
        delivered = order(group["last-delivered-id"].decode())
        ids = [entry for entry in ids if order(entry) <= delivered]
        async with client.pipeline(transaction=False) as pipe:
            for entry in ids:
                pipe.xpending_range(stream, group["name"], min=entry, max=entry, count=1)
            pending = await pipe.execute()
        ids = [entry for entry, found in zip(ids, pending, strict=True) if not found]
    return ids
