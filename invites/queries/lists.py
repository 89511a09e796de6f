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
from invites.values.ref import Ref, callee_of

if TYPE_CHECKING:
    from redis.asyncio import Redis

PENDING: Final = "PENDING"
ENDED: Final = ("ACCEPTED", "DECLINED", "DECLINED_BY_CREATOR", "DECLINED_BY_TIMEOUT")
STATES: Final = (PENDING, *ENDED, "ENDED", "ALL")
"""The states to choose from: one state, all ended invites, or all invites."""

MOST: Final = 200
"""How many invites a page has at most."""

_READ: Final = 500  # refs, or timers, that one command reads; about as many for the other indexes
_COMMANDS: Final = 40  # of them a page gives at most
_AT_ONCE: Final = 100  # invites that are read together
_SCANNED: Final = 1_000  # keys that a SCAN looks at
_GLOB: Final = re.compile(r"([*?\[\]\\])")
_SCORE: Final = re.compile(r"[0-9]{1,20}(?:\.[0-9]{1,20})?")
_CURSOR: Final = re.compile(r"[0-9]{1,20}")

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


class _Found(Struct):
    """Refs of a source in their order, each with the point after it; and the point after all, None at the end."""

    refs: list[tuple[str, str]]
    at: str | None


class _Timers:
    """The refs of all pending invites of a shard, by the end of their time."""

    def __init__(self, client: Redis, keys: Keys) -> None:
        self._client, self._keys = client, keys

    def knows(self, at: str) -> bool:
        return not at or _SCORE.fullmatch(at.partition("|")[0]) is not None

    async def read(self, at: str) -> _Found:
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
                return _Found(found, None)
            if found:
                return _Found(found, found[-1][1])
            offset += _READ  # more of the same time than one page has


class _Scan:
    """The refs that a command finds with a cursor of the server. They are sorted, so that a page may end among them."""

    def __init__(
        self, client: Redis, command: Sequence[str | int], key: str | None, step: int, cut: int
    ) -> None:
        self._client, self._command, self._key = client, command, key
        self._step, self._cut = step, cut

    def knows(self, at: str) -> bool:
        return not at or _CURSOR.fullmatch(at.partition("|")[0]) is not None

    async def read(self, at: str) -> _Found:
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
            return _Found([], None)
        refs = sorted({member[self._cut :].decode(errors="replace") for member in members[:: self._step]})
        after = text(following) or "0"
        return _Found(
            [(ref, f"{cursor or '0'}|{ref}") for ref in refs if ref > last],
            None if after == "0" else after,
        )


_Source = _Timers | _Scan


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

    def _sources(self, asked: Filter) -> list[_Source]:
        def index(command: str, key: str, keys: Keys, step: int = 1) -> _Scan:
            return _Scan(self._client_of(keys), (command, "COUNT", _READ), key, step, 0)

        if asked.state != PENDING:
            return [self._keys(keys, asked.user) for keys in self._shards]
        if asked.room is not None:
            keys = self._home(asked.room)
            return [index("ZSCAN", keys.room_invites(asked.room), keys, 2)]
        if asked.user is None:
            return [_Timers(self._client_of(keys), keys) for keys in self._shards]
        home = self._home(asked.user)
        return [
            index("HSCAN", home.calls(asked.user), home, 2),
            index("SSCAN", home.parallel(asked.user), home),
            *(index("SSCAN", keys.pending(asked.user), keys) for keys in self._shards),
        ]

    def _keys(self, keys: Keys, user: str | None) -> _Scan:
        head = keys.invite("")
        pattern = f"{_exactly(head)}*" if user is None else f"{_exactly(head)}*{_exactly(user)}*"
        return _Scan(
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


def _row(ref: str, values: dict[bytes, bytes]) -> Row:
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


def _decode(cursor: str, sources: Sequence[_Source]) -> _Place:
    with contextlib.suppress(ValueError):
        raw: Any = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        source, bar, at = raw.decode(errors="surrogateescape").partition("|")
        if bar and source.isdecimal() and int(source) < len(sources) and sources[int(source)].knows(at):
            return _Place(int(source), at)
    raise CursorError("the cursor is not one that a page with the same filter has returned")
