"""Lists invites page by page: pending invites, and ended ones that are still readable.

No list costs the calls anything. Pending invites are found by their timers, or by the rules' indexes of a user and of a
room. Ended ones are found by a SCAN of the invites' keys.
"""

from __future__ import annotations

import base64
import contextlib
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Struct
from redis.exceptions import ResponseError

from invites.keys import Keys, shard_of
from invites.queries.invites import text, whole
from invites.queries.sources import Scan, Source, Timers, index
from invites.values.ref import Ref, callee_of
from invites.values.stored_invite import whole_invite

if TYPE_CHECKING:
    from redis.asyncio import Redis

PENDING: Final = "PENDING"
ENDED: Final = ("ACCEPTED", "DECLINED", "DECLINED_BY_CREATOR", "DECLINED_BY_TIMEOUT")
STATES: Final = (PENDING, *ENDED, "ENDED", "ALL")
"""The states to choose from: one state, all ended invites, or all invites."""

MOST: Final = 200
"""How many invites a page has at most."""

_COMMANDS: Final = 40  # that find refs, for one page at most
_AT_ONCE: Final = 100  # invites that are read together
_SCANNED: Final = 1_000  # keys that a SCAN looks at
_GLOB: Final = re.compile(r"([*?\[\]\\])")

ClientOf = Callable[[Keys], "Redis"]


class CursorError(ValueError):
    """A cursor is not one that a page with the same filter has returned."""


class Filter(Struct, frozen=True):
    """The filter of a list.

    `user`: those that the user has made or that ring the user, also as a member of a group. `state` is one of STATES.
    `since`: those that began then or later (ms since 1970).
    """

    user: str | None = None
    state: str = PENDING
    room: str | None = None
    since: int | None = None

    def admits(self, row: Row) -> bool:
        """Whether an invite is asked for. The indexes have told whom it rings."""
        in_state = row.state in ENDED if self.state == "ENDED" else self.state in {"ALL", row.state}
        return (
            in_state
            and self.room in {None, row.room}
            and (self.since is None or (row.started_at is not None and row.started_at >= self.since))
        )


class Row(Struct, rename="camel"):
    """An invite in a list. Times are in ms since 1970. `kind` is direct, group (a call to one) or leg (to a member)."""

    ref: str
    invite_id: str | None
    from_: str | None = msgspec.field(name="from")
    to: str | None
    kind: str
    group: str | None
    room: str | None
    state: str | None
    code: int | None
    reason: str | None
    who_accepted: str | None
    invite_request: bool
    started_at: int | None
    expires_at: int | None
    ended_at: int | None


class Page(Struct):
    """A part of a list. With `more`, `cursor` asks for the next one; a page may be short, or empty, before the end."""

    invites: list[Row]
    more: bool
    cursor: str | None


class _Place(Struct, array_like=True):
    """Where a page ended: in which source, at which point of it."""

    source: int
    at: str


class InviteLists:
    """Reads the lists of all shards, with the client of each. The methods raise redis exceptions."""

    def __init__(self, shards: Sequence[Keys], client_of: ClientOf) -> None:
        self._shards = shards
        self._client_of = client_of

    async def page(self, asked: Filter, limit: int = MOST, cursor: str | None = None) -> Page:
        """The next `limit` invites, or fewer. Raises CursorError.

        Reads 40 pages of an index at most, however many invites there are.
        """
        sources = self._sources(asked)
        place = _Place(0, "") if cursor is None else _decode(cursor, sources)
        rows: list[Row] = []
        known: set[str] = set()
        for _ in range(_COMMANDS):
            found = await sources[place.source].read(place.at)
            wanted = [one for one in found.refs if self._may_be(asked, one[0])]
            while wanted and len(rows) < limit:
                read = await self._rows([ref for ref, _ in wanted[:_AT_ONCE] if ref not in known])
                for _ in range(min(_AT_ONCE, len(wanted))):
                    ref, place.at = wanted.pop(0)
                    if ref not in known and ref in read and asked.admits(read[ref]):
                        rows.append(read[ref])
                    known.add(ref)
                    if len(rows) == limit:
                        break
            if len(rows) >= limit and (wanted or found.at is not None):
                break
            place = _Place(place.source + 1, "") if found.at is None else _Place(place.source, found.at)
            if place.source == len(sources):
                return Page(rows, more=False, cursor=None)
        return Page(rows, more=True, cursor=_encode(place))

    def _sources(self, asked: Filter) -> list[Source]:
        if asked.state != PENDING:
            return [self._scan_of(keys, asked.user) for keys in self._shards]
        if asked.room is not None:
            keys = self._home(asked.room)
            return [index(self._client_of(keys), "ZSCAN", keys.room_invites(asked.room), 2)]
        if asked.user is None:
            return [Timers(self._client_of(keys), keys) for keys in self._shards]
        home, user = self._home(asked.user), asked.user
        return [
            index(self._client_of(home), "HSCAN", home.calls(user), 2),
            index(self._client_of(home), "SSCAN", home.parallel(user)),
            *(index(self._client_of(keys), "SSCAN", keys.pending(user)) for keys in self._shards),
        ]

    def _scan_of(self, keys: Keys, user: str | None) -> Scan:
        head = keys.invite("")
        pattern = f"{_exactly(head)}*" if user is None else f"{_exactly(head)}*{_exactly(user)}*"
        return Scan(
            self._client_of(keys), ("SCAN", "MATCH", pattern, "COUNT", _SCANNED), None, 1, len(head.encode())
        )

    def _home(self, name: str) -> Keys:
        return self._shards[shard_of(name, len(self._shards))]

    def _may_be(self, asked: Filter, ref: str) -> bool:
        try:
            parsed = Ref.parse(ref)
        except ValueError:
            return False  # another timer, or a foreign key
        indexed = asked.state == PENDING and asked.room is None
        return asked.user is None or indexed or asked.user in {parsed.inviter, parsed.callee}

    async def _rows(self, refs: Sequence[str]) -> dict[str, Row]:
        by_shard: dict[int, list[str]] = {}
        for ref in refs:
            by_shard.setdefault(shard_of(callee_of(ref), len(self._shards)), []).append(ref)
        found: dict[str, Row] = {}
        for shard, some in by_shard.items():
            keys = self._shards[shard]
            async with self._client_of(keys).pipeline(transaction=False) as pipe:
                for ref in some:
                    pipe.hgetall(keys.invite(ref))
                for ref, values in zip(some, await pipe.execute(raise_on_error=False), strict=True):
                    if isinstance(values, ResponseError) and str(values).startswith("WRONGTYPE"):
                        continue
                    if isinstance(values, Exception):
                        raise values
                    if values:
                        found[ref] = _row(ref, values)
        return found


def _exactly(name: str) -> str:
    return _GLOB.sub(r"\\\1", name)


def _row(ref: str, stored: dict[bytes, bytes]) -> Row:
    values = whole_invite(ref, stored)
    group, to = text(values.get(b"group")), text(values.get(b"to"))
    return Row(
        ref=ref,
        invite_id=text(values.get(b"inviteId")),
        from_=text(values.get(b"from")),
        to=to,
        kind="direct" if group is None else "group" if group == to else "leg",
        group=group,
        room=text(values.get(b"room")),
        state=text(values.get(b"state")),
        code=whole(values.get(b"code")),
        reason=text(values.get(b"reason")),
        who_accepted=text(values.get(b"whoAccepted")),
        invite_request=values.get(b"inviteRequest") == b"1",
        started_at=whole(values.get(b"createdAt")),
        expires_at=whole(values.get(b"expiresAt")),
        ended_at=whole(values.get(b"endedAt")),
    )


def _encode(place: _Place) -> str:
    raw = f"{place.source}|{place.at}".encode(errors="surrogateescape")
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _decode(cursor: str, sources: Sequence[Source]) -> _Place:
    with contextlib.suppress(ValueError):
        raw: Any = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        source, bar, at = raw.decode(errors="surrogateescape").partition("|")
        if bar and source.isdecimal() and int(source) < len(sources) and sources[int(source)].knows(at):
            return _Place(int(source), at)
    raise CursorError("the cursor is not one that a page with the same filter has returned")
