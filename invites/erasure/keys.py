"""What to do with each key of a shard: delete it, or the members that name the user."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
from redis.exceptions import OutOfMemoryError, WatchError

from invites.keys import CANDIDATE
from invites.queries.story import read_step
from invites.resharding.key_ownership import kind_of
from invites.values.stored_invite import read_candidate

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from invites.erasure.person import Person
    from invites.erasure.report import Tally
    from invites.keys import Keys
    from invites.resharding.shard_map import Command, ShardMap

PAGE: Final = 500
"""The number of keys, members or entries that one command looks at."""

_AT_ONCE: Final = 100  # keys in a round trip: a call may have contexts of some KiB
_LISTS: Final = 20  # the same for keys with members, `PAGE` of each

OF_USER: Final = frozenset(
    {
        "registry", "known", "user-state", "gone", "away", "calls", "missed", "busy", "came", "calls-ended",
        "calls-missed", "history", "pending", "parallel", "ended", "todo", "todo-of",
    }
)  # fmt: skip
"""Keys whose name begins with their user."""

OF_REF: Final = frozenset(
    {
        "invite",
        "candidates",
        "legs",
        "story",
        "news",
        "stopped",
        "request",
        "cleared",
        "over",
        "met",
        "replaced",
    }
)
"""Keys whose name is a ref, or the two users of calls."""

OF_VALUE: Final = frozenset({"holder", "grace"})
"""Keys of a peer. The value begins with its user."""

LISTS: Final = frozenset(
    {"room-members", "room-invites", "calls", "missed", "ended", "pending", "parallel", "history", "calls-ended",
     "calls-missed", "todo", "todo-of"}
)  # fmt: skip
"""Keys whose members are users or refs."""

CALLS: Final = frozenset({"invite", "candidates", "legs", "story"})
"""The keys of one call. They are deleted together: a call of others names the user only as the one who answered it."""

_OF_NOBODY: Final = frozenset(
    {
        b"state", b"code", b"reason", b"inviteRequest", b"probe", b"alone", b"parallel", b"waiting", b"held",
        b"counted", b"refusal", b"unreachable", b"postponed",
    }
)  # fmt: skip
"""Fields of a call that have words and numbers of the rules. A user's id may be one of them, such as 200."""

_CANDIDATE: Final = CANDIDATE.encode()

_BLOCKED: Final = 3  # the first blocked user in a userState: entry|dnd|until|user|…|
_TIMERS_OF_REFS: Final = frozenset({"ring", "step", "wake"})


def timer_names(person: Person, member: str) -> bool:
    """Whether a timer is one of the user's, or of a call of the user."""
    kind, _, rest = member.partition("|")
    if kind in _TIMERS_OF_REFS:
        return person.is_in_ref(rest)
    first, _, second = rest.partition("|")
    return person.user == (second if kind == "left" else first)


class _Key(NamedTuple):
    """A key without prefix and hash tag, its kind, and the rest of its name."""

    name: str
    kind: str
    rest: str


class KeyEraser:
    """Erases the keys of one shard, many in a round trip. With `dry_run` it only counts.

    It may be cancelled at any point; another run does the rest.
    """

    def __init__(
        self, shard_map: ShardMap, keys: Keys, person: Person, tally: Tally, *, dry_run: bool
    ) -> None:
        self._shard_map = shard_map
        self._keys = keys
        self._person = person
        self._tally = tally
        self._dry_run = dry_run

    async def page(self, names: Sequence[str]) -> None:
        """Erase in some keys, which are named without prefix and hash tag."""
        keys = [_Key(name, *kind_of(name)) for name in names]
        is_own = [self._is_of_user(key) for key in keys]
        await self._delete([key for key, own in zip(keys, is_own, strict=True) if own])
        others = [key for key, own in zip(keys, is_own, strict=True) if not own]
        for some in _chunks([key for key in others if key.kind in OF_VALUE]):
            await self._delete_by_value(some)
        for some in _chunks([key for key in others if key.kind in CALLS]):
            await self._look_into_calls(some)
        for some in _chunks([key for key in others if key.kind == "user-state"]):
            await self._unblock_all(some)
        for some in _chunks([key for key in others if key.kind in LISTS or key.kind == "timers"], _LISTS):
            await self._remove_members(some)

    def _is_of_user(self, key: _Key) -> bool:
        """Whether the name alone says so."""
        if key.kind in OF_USER:
            return key.rest.partition("|")[0] == self._person.user
        if key.kind == "left":
            return key.rest.rpartition("|")[2] == self._person.user
        if key.kind == "retry":
            return timer_names(self._person, key.rest)
        return key.kind in OF_REF and self._person.is_in_ref(key.rest)

    async def _delete(self, keys: Sequence[_Key]) -> None:
        self._tally.deleted.update(key.kind for key in keys)
        if keys:
            await self._write([("UNLINK", *map(self._named, keys))])

    async def _delete_by_value(self, keys: Sequence[_Key]) -> None:
        values = await self._read(("GET", self._named(key)) for key in keys)
        owners = [(value or b"").decode(errors="replace").partition("|")[0] for value in values]
        await self._delete(
            [key for key, owner in zip(keys, owners, strict=True) if owner == self._person.user]
        )

    async def _look_into_calls(self, keys: Sequence[_Key]) -> None:
        """Calls of others: of a group whose member the user is, say."""
        replies = await self._read(
            ("LRANGE", self._named(key), 0, -1) if key.kind == "story" else ("HGETALL", self._named(key))
            for key in keys
        )
        named = [
            key for key, found in zip(keys, replies, strict=True) if self._is_in_call(key.kind, found or [])
        ]
        states = await self._read(("HGET", self._keys.invite(key.rest), "state") for key in named)
        rings = [state == b"PENDING" for state in states]
        self._tally.left.update(key.kind for key, does in zip(named, rings, strict=True) if does)
        await self._delete([key for key, does in zip(named, rings, strict=True) if not does])

    def _is_in_call(self, kind: str, found: Any) -> bool:  # noqa: ANN401 - a raw reply
        if kind == "story":
            return self._person.user in _names_in(found)
        fields = (
            found if isinstance(found, dict) else dict(zip(found[::2], found[1::2], strict=True))
        )  # RESP3, 2
        if kind == "invite" and self._person.user in _names_in(fields.pop(b"story", b"").split(b"\n")):
            return True
        members = fields if kind == "legs" else ()
        texts = [
            *members,
            *(_candidate(value) if field.startswith(_CANDIDATE) else value
              for field, value in fields.items() if field not in _OF_NOBODY),
        ]  # fmt: skip
        return any(map(self._person.is_in_value, texts))

    async def _unblock_all(self, keys: Sequence[_Key]) -> None:
        """Other users no longer block this one."""
        states = await self._read(("GET", self._named(key)) for key in keys)
        for key, state in zip(keys, states, strict=True):
            if self._person.user in _blocked(state):
                await self._unblock(self._named(key))

    async def _unblock(self, key: str) -> None:
        client: Any = self._shard_map.client(self._keys.shard)
        async with client.pipeline(transaction=True) as pipe:
            await pipe.watch(key)
            state = await pipe.get(key)
            if self._person.user not in _blocked(state):
                return
            said = state.decode(errors="replace").split("|")
            rest = [*said[:_BLOCKED], *(other for other in said[_BLOCKED:] if other != self._person.user)]
            pipe.multi()
            pipe.set(key, "|".join(rest), keepttl=True)
            try:
                if not self._dry_run:
                    await pipe.execute()
            except (WatchError, OutOfMemoryError):  # the user has just said something else; SET needs memory
                self._tally.left["user-state"] += 1
            else:
                self._tally.rewritten["user-state"] += 1

    async def _remove_members(self, keys: Sequence[_Key]) -> None:
        """Remove the members that name the user; of a history also those whose values do."""
        types = await self._read(("TYPE", self._named(key)) for key in keys)
        scans = {key: _SCANS[type_] for key, type_ in zip(keys, types, strict=True) if type_ in _SCANS}
        cursors = dict.fromkeys(scans, b"0")
        while cursors:
            replies = await self._read(
                (scans[key].command, self._named(key), cursor, "COUNT", PAGE)
                for key, cursor in cursors.items()
            )
            removals: list[Command] = []
            for key, reply in zip(list(cursors), replies, strict=True):
                cursors[key], flat = reply or (b"0", [])  # another type by now
                gone = self._members_to_remove(key, flat, scans[key].step)
                if gone:
                    self._tally.deleted[f"{key.kind} (members)"] += len(gone)
                    removals.append((scans[key].removal, self._named(key), *gone))
                if cursors[key] == b"0":
                    del cursors[key]
            await self._write(removals)

    def _members_to_remove(self, key: _Key, flat: list[bytes], step: int) -> list[bytes]:
        gone = []
        for at in range(0, len(flat), step):
            member = flat[at].decode(errors="replace")
            if key.kind == "timers":
                names = timer_names(self._person, member)
            else:
                names = self._person.is_in_ref(member) or (
                    key.kind == "history" and self._person.is_in_value(flat[at + step - 1])
                )
            if names:
                gone.append(flat[at])
        return gone

    def _named(self, key: _Key) -> str:
        return self._keys.base + key.name

    async def _read(self, commands: Iterable[Command]) -> list[Any]:
        """The raw replies; None for a key of another type."""
        return await self._shard_map.read((self._keys.shard, command) for command in commands)

    async def _write(self, commands: Sequence[Command]) -> None:
        if commands and not self._dry_run:
            await self._shard_map.execute((self._keys.shard, command) for command in commands)


class _Scan(NamedTuple):
    """How to go through the members of a type, each with `step` words, and to remove some."""

    command: str
    removal: str
    step: int


_SCANS: Final = {
    b"hash": _Scan("HSCAN", "HDEL", 2),
    b"set": _Scan("SSCAN", "SREM", 1),
    b"zset": _Scan("ZSCAN", "ZREM", 2),
}


def _chunks(keys: Sequence[_Key], size: int = _AT_ONCE) -> Iterator[Sequence[_Key]]:
    return (keys[first : first + size] for first in range(0, len(keys), size))


def _candidate(stored: bytes) -> bytes:
    """A candidate without the words of the rules, one of which may be a user's id."""
    found = read_candidate(stored, None)
    return msgspec.json.encode(
        {name: value for name, value in found.items() if name not in {"type", "state"}}
    )


def _names_in(lines: Iterable[bytes]) -> set[str | None]:
    """Everybody whom a story names."""
    steps = [step for line in lines if (step := read_step(line, 0)) is not None]
    return {who for step in steps for who in (step.who, *(name for told in step.told for name in told.who))}


def _blocked(state: bytes | None) -> list[str]:
    return (state or b"").decode(errors="replace").split("|")[_BLOCKED:]
