"""Reads the calls that a user has made, taken and missed (`invites.keepHistory`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Raw, Struct, field

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redis.asyncio import Redis

    from invites.keys import Keys

PAGE: Final = 50
"""How many calls a page has at most, unless more of them have ended in the same ms as its last one."""

_NULL: Final = Raw(b"null")


class EndedCall(Struct, rename="camel", kw_only=True):
    """A call of the user. `direction` is in or out; times are in ms since 1970.

    `seen`: missed, and the user knows.
    """

    invite_id: str
    from_: str = field(name="from")
    to: str
    direction: str
    group: str | None = None
    room: str | None = None
    invite_request: bool
    from_details: Raw = _NULL
    state: str
    code: int
    reason: str
    who_accepted: str | None = None
    started_at: int
    ended_at: int
    missed: bool = False
    seen: bool = False


class CallPage(Struct):
    """Calls, newest first. `unseen` counts the missed ones that the user has not seen; `more`: there are older ones."""

    calls: list[EndedCall]
    unseen: int
    more: bool


_DECODER: Final = msgspec.json.Decoder(EndedCall)


async def calls_of(
    client: Redis, keys: Keys, user: str, *, age: int, missed: bool = False, before: int | None = None
) -> CallPage:
    """The user's calls of the last `age` ms that ended before the time `before`; with `missed` those alone.

    Raises redis exceptions.
    """
    ended, missed_ones, history = keys.calls_ended(user), keys.calls_missed(user), keys.history(user)
    seconds, _ = await client.time()
    oldest = seconds * 1000 - age
    end = "+inf" if before is None else f"({before}"
    async with client.pipeline(transaction=False) as pipe:
        pipe.hget(history, "seen")
        pipe.zrange(missed_ones, f"({oldest}", "+inf", byscore=True, withscores=True)
        source = missed_ones if missed else ended
        pipe.zrange(source, end, f"({oldest}", byscore=True, desc=True, withscores=True)
        seen, all_missed, found = await pipe.execute()
    known, missed_at = int(seen or 0), dict(all_missed)
    page = _page(found)
    raw: list[Any] = await client.hmget(history, [ref for ref, _ in page]) if page else []
    calls = [
        _call(value, missed_at.get(ref), known)
        for (ref, _), value in zip(page, raw, strict=True)
        if value is not None
    ]
    return CallPage(calls, sum(at > known for at in missed_at.values()), len(page) < len(found))


def _page(found: Sequence[tuple[bytes, float]]) -> Sequence[tuple[bytes, float]]:
    """The first ones. `before` is a ms, so calls of one ms are never on two pages."""
    size = min(PAGE, len(found))
    while size < len(found) and found[size][1] == found[size - 1][1]:
        size += 1
    return found[:size]


def _call(raw: bytes, missed_at: float | None, known: int) -> EndedCall:
    call: EndedCall = _DECODER.decode(raw)
    call.missed, call.seen = missed_at is not None, missed_at is not None and missed_at <= known
    return call
