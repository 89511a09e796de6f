"""What to do with each key of a shard: delete it, or the members that name the user."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from redis.exceptions import OutOfMemoryError, WatchError

from invites.keys import CANDIDATE
from invites.resharding.key_ownership import kind_of
from invites.values.stored_invite import read_candidate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from redis.asyncio import Redis

    from invites.erasure.person import Person
    from invites.erasure.report import Tally
    from invites.keys import Keys

PAGE: Final = 500
"""The number of keys, members or entries that one command looks at."""

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

# Words of a step: ms, what, code, who, last, before; then what, code, who of each that was notified.
_WHO: Final = slice(3, 4)
_TOLD: Final = slice(8, None, 3)
_BLOCKED: Final = 3  # the first blocked user in a userState: entry|dnd|until|user|…|
_TIMERS_OF_REFS: Final = frozenset({"ring", "step", "wake"})


def timer_names(person: Person, member: str) -> bool:
    """Whether a timer is one of the user's, or of a call of the user."""
    kind, _, rest = member.partition("|")
    if kind in _TIMERS_OF_REFS:
        return person.is_in_ref(rest)
    first, _, second = rest.partition("|")
    return person.user == (second if kind == "left" else first)


def _candidate(stored: bytes) -> bytes:
    return msgspec.json.encode(read_candidate(stored, None))


def _names_in(steps: Sequence[bytes]) -> list[bytes]:
    """Everybody whom a story names."""
    words = [step.split(b" ") for step in steps]
    return [who for step in words for who in (*step[_WHO], *step[_TOLD])]


class KeyEraser:
    """Erases the keys of one shard. With `dry_run` it only counts."""

    def __init__(self, client: Redis, keys: Keys, person: Person, tally: Tally, *, dry_run: bool) -> None:
        self._client: Any = client  # redis-py leaves text and bytes open
        self._keys = keys
        self._person = person
        self._tally = tally
        self._dry_run = dry_run

    async def page(self, names: Sequence[str]) -> None:
        """Erase in some keys, which are named without prefix and hash tag."""
        for name in names:
            kind, rest = kind_of(name)
            if await self._is_of_user(kind, rest, name):
                await self._delete(kind, name)
            elif kind in CALLS:
                await self._look_into_call(kind, rest, name)
            elif kind == "user-state":
                await self._unblock(name)
            elif kind in LISTS:
                is_value = kind == "history"
                await self._remove(kind, name, self._person.is_in_ref, with_values=is_value)
            elif kind == "timers":
                await self._remove(kind, name, lambda member: timer_names(self._person, member))
            elif kind == "retry" and timer_names(self._person, rest):
                await self._delete(kind, name)

    async def _is_of_user(self, kind: str, rest: str, name: str) -> bool:
        user = self._person.user
        if kind in OF_USER:
            return rest.partition("|")[0] == user
        if kind == "left":
            return rest.rpartition("|")[2] == user
        if kind in OF_REF:
            return self._person.is_in_ref(rest)
        if kind in OF_VALUE:
            value = await self._client.get(self._keys.base + name)
            return value is not None and value.decode(errors="replace").partition("|")[0] == user
        return False

    async def _delete(self, kind: str, name: str) -> None:
        self._tally.deleted[kind] += 1
        if not self._dry_run:
            await self._client.unlink(self._keys.base + name)

    async def _look_into_call(self, kind: str, ref: str, name: str) -> None:
        """A call of others: of a group whose member the user is, say."""
        key = self._keys.base + name
        if kind == "story":
            texts = _names_in(await self._client.lrange(key, 0, -1))
        else:
            fields = await self._client.hgetall(key)
            members = fields if kind == "legs" else ()
            story = _names_in(fields.pop(b"story", b"").split(b"\n")) if kind == "invite" else ()
            texts = [
                *story,
                *members,
                *(_candidate(value) if field.startswith(_CANDIDATE) else value
                  for field, value in fields.items() if field not in _OF_NOBODY),
            ]  # fmt: skip
        if any(map(self._person.is_in_value, texts)):
            if await self._client.hget(self._keys.invite(ref), "state") == b"PENDING":
                self._tally.left[kind] += 1
            else:
                await self._delete(kind, name)

    async def _unblock(self, name: str) -> None:
        """Another user no longer blocks this one."""
        key, user = self._keys.base + name, self._person.user
        async with self._client.pipeline(transaction=True) as pipe:
            await pipe.watch(key)
            said = (await pipe.get(key) or b"").decode(errors="replace").split("|")
            if user not in said[_BLOCKED:]:
                return
            rest = [*said[:_BLOCKED], *(other for other in said[_BLOCKED:] if other != user)]
            pipe.multi()
            pipe.set(key, "|".join(rest), keepttl=True)
            try:
                if not self._dry_run:
                    await pipe.execute()
            except (WatchError, OutOfMemoryError):  # the user has just said something else; SET needs memory
                self._tally.left["user-state"] += 1
            else:
                self._tally.rewritten["user-state"] += 1

    async def _remove(
        self, kind: str, name: str, is_one: Callable[[str], bool], *, with_values: bool = False
    ) -> None:
        """Remove the members that name the user, or with `with_values` those whose values do."""
        key = self._keys.base + name
        type_ = (await self._client.type(key)).decode()
        if type_ not in _SCANS:
            return
        gone = []
        async for member, value in _members(self._client, type_, key):
            if is_one(member.decode(errors="replace")) or (with_values and self._person.is_in_value(value)):
                gone.append(member)
        self._tally.deleted[f"{kind} (members)"] += len(gone)
        for first in range(0, 0 if self._dry_run else len(gone), PAGE):
            await self._client.execute_command(_SCANS[type_][1], key, *gone[first : first + PAGE])


_SCANS: Final = {"hash": ("HSCAN", "HDEL"), "set": ("SSCAN", "SREM"), "zset": ("ZSCAN", "ZREM")}


async def _members(client: Any, type_: str, key: str) -> AsyncIterator[tuple[bytes, bytes]]:  # noqa: ANN401
    """The members, with the values of a hash."""
    cursor = b"0"
    while True:
        # redis-py has no callback for a command name in bytes, so the reply stays raw.
        cursor, flat = await client.execute_command(_SCANS[type_][0].encode(), key, cursor, b"COUNT", PAGE)
        step = 1 if type_ == "set" else 2
        for at in range(0, len(flat), step):
            yield flat[at], flat[at + step - 1]
        if cursor == b"0":
            return
