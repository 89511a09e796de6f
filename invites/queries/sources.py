"""Where the refs of a list of invites come from: a shard's timers, an index of the rules, or its keys."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct
from redis.exceptions import ResponseError

from invites.queries.invites import text

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from invites.keys import Keys

_READ: Final = 500  # refs, or timers, that one command reads; about as many for the other indexes
_SCORE: Final = re.compile(r"[0-9]{1,20}(?:\.[0-9]{1,20})?")
_CURSOR: Final = re.compile(r"[0-9]{1,20}")


class Found(Struct):
    """Refs of a source in their order, each with the point after it; and the point after all, None at the end."""

    refs: list[tuple[str, str]]
    at: str | None


class Timers:
    """The refs of all pending invites of a shard, by the end of their time."""

    def __init__(self, client: Redis, keys: Keys) -> None:
        self._client, self._keys = client, keys

    def knows(self, at: str) -> bool:
        """Whether `at` is a point of this source."""
        return not at or _SCORE.fullmatch(at.partition("|")[0]) is not None

    async def read(self, at: str) -> Found:
        """The refs after the point `at`, of one page. Raises redis exceptions."""
        score, _, last = at.partition("|")
        offset, found = 0, list[tuple[str, str]]()
        while True:
            reply: Any = await self._client.zrange(
                self._keys.timers, score or "-inf", "+inf", byscore=True, withscores=True,
                offset=offset, num=_READ,
            )  # fmt: skip
            for member, due in reply:
                point = f"{due:.17g}|{member.decode(errors='surrogateescape')}"
                if at and (due, member) <= (float(score), last.encode(errors="surrogateescape")):
                    continue
                kind, _, ref = (text(member) or "").partition("|")
                found.append((ref if kind == "ring" else "", point))
            if len(reply) < _READ:
                return Found(found, None)
            if found:
                return Found(found, found[-1][1])
            offset += _READ  # more of the same time than one page has


class Scan:
    """The refs that a command finds with a cursor of the server. They are sorted, so that a page may end among them.

    `command` is SCAN, or with a `key` HSCAN, SSCAN or ZSCAN, and its options. Every `step`-th word of its reply is a
    ref, without its first `cut` bytes.
    """

    def __init__(
        self, client: Redis, command: Sequence[str | int], key: str | None, step: int, cut: int
    ) -> None:
        self._client, self._command, self._key = client, command, key
        self._step, self._cut = step, cut

    def knows(self, at: str) -> bool:
        """Whether `at` is a point of this source."""
        return not at or _CURSOR.fullmatch(at.partition("|")[0]) is not None

    async def read(self, at: str) -> Found:
        """The refs after the point `at`, of one page. Raises redis exceptions."""
        cursor, _, last = at.partition("|")
        name = [] if self._key is None else [self._key]
        command, *options = self._command
        try:
            following, members = await self._client.execute_command(
                str(command).encode(), *name, cursor or "0", *options
            )
        except ResponseError as error:
            if not str(error).startswith("WRONGTYPE"):
                raise
            return Found([], None)
        refs = sorted({member[self._cut :].decode(errors="replace") for member in members[:: self._step]})
        after = text(following) or "0"
        return Found(
            [(ref, f"{cursor or '0'}|{ref}") for ref in refs if ref > last],
            None if after == "0" else after,
        )


def index(client: Redis, command: str, key: str, step: int = 1) -> Scan:
    """The refs in an index of the rules, read with HSCAN, SSCAN or ZSCAN."""
    return Scan(client, (command, "COUNT", _READ), key, step, 0)


Source = Timers | Scan
