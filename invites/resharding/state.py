"""Moves keys to the shards they belong to. A copy is complete before the original is deleted.

The move can be interrupted and repeated at any point: it copies the same data again, because no one else writes.
"""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

from invites.events.entry import order
from invites.resharding.key_ownership import BY_VALUE, SPLIT, WHOLE, kind_of
from invites.resharding.shard_map import PAGE
from invites.values.ref import callee_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from invites.keys import Keys
    from invites.resharding.shard_map import Command, ShardMap

_ROOM_INVITES: Final = "room-invites"
_OVER: Final = "over"
_REDIALS: Final = "redials"
_ENTRY: Final = re.compile(rb"\d+(-\d+)?")
_SEQUENCES: Final = 1024  # as order.number in the Lua: the fraction is as precise as a double allows


async def move_keys(shard_map: ShardMap, source: Keys, moved: Callable[[int], None]) -> None:
    """Move all keys of a shard that belong to another one. `moved` receives the counts."""
    async for page in shard_map.scan(source):
        by_kind: defaultdict[str, list[str]] = defaultdict(list)
        for name in page:
            by_kind[kind_of(name)[0]].append(name)
        going = [
            (name, target)
            for kind, belongs in WHOLE.items()
            if kind != _ROOM_INVITES
            for name in by_kind[kind]
            if (target := _target(shard_map, source, belongs(kind_of(name)[1]))) != source.shard
        ]
        going += await _by_value(shard_map, source, by_kind[BY_VALUE])
        count = await _move_whole(shard_map, source, going)
        count += await _move_members(shard_map, source, [name for kind in SPLIT for name in by_kind[kind]])
        count += await _move_room_invites(shard_map, source, by_kind[_ROOM_INVITES])
        await _spread_over(shard_map, source, by_kind[_OVER])
        if by_kind[_REDIALS]:
            await _spread_redials(shard_map, source)
        moved(count)


def count_going(shard_map: ShardMap, source: Keys, page: Sequence[str]) -> int:
    """How many of these keys belong to another shard. Sets of refs are counted by their user."""
    count = 0
    for name in page:
        kind, rest = kind_of(name)
        belongs = WHOLE.get(kind) or ((lambda user: user) if kind in SPLIT else None)
        count += belongs is not None and _target(shard_map, source, belongs(rest)) != source.shard
    return count


def _target(shard_map: ShardMap, source: Keys, name: str) -> int:
    """The new shard of a name's data in `source`. Data that is only a copy there (marks of a trunk's user) stays."""
    return shard_map.shard_after(name) if shard_map.shard_before(name) == source.shard else source.shard


async def _by_value(shard_map: ShardMap, source: Keys, names: Sequence[str]) -> list[tuple[str, int]]:
    values = await shard_map.read((source.shard, ("GET", source.base + name)) for name in names)
    targets = [
        source.shard if value is None else _target(shard_map, source, value.decode(errors="replace"))
        for value in values
    ]
    return [(name, target) for name, target in zip(names, targets, strict=True) if target != source.shard]


async def _move_whole(shard_map: ShardMap, source: Keys, going: Sequence[tuple[str, int]]) -> int:
    shard, count = source.shard, 0
    for start in range(0, len(going), PAGE):
        page = going[start : start + PAGE]
        names = [source.base + name for name, _ in page]
        read = [command for name in names for command in (("DUMP", name), ("PEXPIRETIME", name))]
        found = await shard_map.execute((shard, command) for command in read)
        await shard_map.execute(
            (
                target,
                ("RESTORE", shard_map.all[target].base + name, max(0, until), dump, "REPLACE", "ABSTTL"),
            )
            for (name, target), dump, until in zip(page, found[::2], found[1::2], strict=True)
            if dump is not None and until != _GONE
        )
        if names:
            await shard_map.execute([(shard, ("UNLINK", *names))])
        count += len(page)
    return count


_GONE: Final = -2  # PEXPIRETIME of a missing key
_FOR_EVER: Final = -1  # PEXPIRETIME of a key without a time to live


class _Members:
    """The members of a set or a sorted set of refs."""

    def __init__(self, name: str, kind: bytes, members: list[Any]) -> None:
        self.name = name
        self.scored = kind == b"zset"
        self.members = members[::2] if self.scored else members
        self._scores = dict(zip(self.members, members[1::2], strict=True)) if self.scored else {}

    def add(self, key: str, members: Sequence[bytes]) -> Command:
        if not self.scored:
            return ("SADD", key, *members)
        return ("ZADD", key, *(word for member in members for word in (self._scores[member], member)))

    def remove(self, key: str, members: Sequence[bytes]) -> Command:
        return ("ZREM" if self.scored else "SREM", key, *members)


_READ: Final[dict[bytes, tuple[str, Command]]] = {
    b"set": ("SMEMBERS", ()),
    b"zset": ("ZRANGE", (0, -1, "WITHSCORES")),
}


async def _move_members(shard_map: ShardMap, source: Keys, names: Sequence[str]) -> int:
    shard = source.shard
    kinds = await shard_map.execute((shard, ("TYPE", source.base + name)) for name in names)
    known = [(name, kind) for name, kind in zip(names, kinds, strict=True) if kind in _READ]
    read = await shard_map.execute(
        (shard, (_READ[kind][0], source.base + name, *_READ[kind][1])) for name, kind in known
    )
    going: list[tuple[_Members, int, list[bytes]]] = []
    for (name, kind), members in zip(known, read, strict=True):
        found = _Members(name, kind, members)
        by_target: defaultdict[int, list[bytes]] = defaultdict(list)
        for member in found.members:
            by_target[shard_map.shard_after(callee_of(member.decode(errors="replace")))].append(member)
        by_target.pop(shard, None)
        going += [(found, target, some) for target, some in by_target.items()]
    ours = await shard_map.execute((shard, ("PEXPIRETIME", source.base + one.name)) for one, _, _ in going)
    theirs = await shard_map.execute(
        (target, ("PEXPIRETIME", shard_map.all[target].base + one.name)) for one, target, _ in going
    )
    added: list[tuple[int, Command]] = []
    for (one, target, some), our, their in zip(going, ours, theirs, strict=True):
        key = shard_map.all[target].base + one.name
        added.append((target, one.add(key, some)))
        if our != _FOR_EVER:
            added.append((target, ("PEXPIREAT", key, max(our, their))))
    await shard_map.execute(added)
    await shard_map.execute((shard, one.remove(source.base + one.name, some)) for one, _, some in going)
    return len({one.name for one, _, _ in going})


async def _move_room_invites(shard_map: ShardMap, source: Keys, names: Sequence[str]) -> int:
    """Move the sorted sets of a room's pending invites, and make their scores precise.

    A score stands for the entry that created the invite. It may be coarse while the invite is in the same shard, where
    the exact entry is known; after the move it may be in another one.
    """
    shard, count = source.shard, 0
    for name in names:
        key = source.base + name
        flat, until = await shard_map.read(
            [(shard, ("ZRANGE", key, 0, -1, "WITHSCORES")), (shard, ("PEXPIRETIME", key))]
        )
        if flat is None:
            continue
        refs = [ref.decode(errors="replace") for ref in flat[::2]]
        scores = await _exact(shard_map, refs, flat[1::2])
        target = _target(shard_map, source, WHOLE[_ROOM_INVITES](kind_of(name)[1]))
        place = shard_map.all[target].base + name
        for start in range(0, len(refs), PAGE):
            some = zip(scores[start : start + PAGE], flat[::2][start : start + PAGE], strict=True)
            await shard_map.execute([(target, ("ZADD", place, *(word for pair in some for word in pair)))])
        if target != shard and refs:
            if until != _FOR_EVER:
                await shard_map.execute([(target, ("PEXPIREAT", place, until))])
            await shard_map.execute([(shard, ("UNLINK", key))])
            count += 1
    return count


async def _exact(shard_map: ShardMap, refs: Sequence[str], scores: Sequence[bytes]) -> list[bytes | str]:
    """The precise scores of refs, from the entries of their invites. Without an invite, the old score."""
    exact: list[bytes | str] = []
    for start in range(0, len(refs), PAGE):
        page = refs[start : start + PAGE]
        where = [
            shard
            for ref in page
            for shard in (shard_map.shard_after(callee_of(ref)), shard_map.shard_before(callee_of(ref)))
        ]
        keys = [
            shard_map.all[shard].invite(ref)
            for shard, ref in zip(where, (r for r in page for _ in "12"), strict=True)
        ]
        made = await shard_map.read(
            (shard, ("HGET", key, "entry")) for shard, key in zip(where, keys, strict=True)
        )
        exact += [
            _number(entry.decode()) if entry and _ENTRY.fullmatch(entry) else score
            for score, entry in zip(
                scores[start : start + PAGE],
                (here or there for here, there in zip(made[::2], made[1::2], strict=True)),
                strict=True,
            )
        ]
    return exact


def _number(entry: str) -> str:
    ms, _, sequence = entry.partition("-")
    return repr(int(ms) + min(int(sequence or 0), _SEQUENCES - 1) / _SEQUENCES)


async def _spread_over(shard_map: ShardMap, source: Keys, names: Sequence[str]) -> None:
    """Copy marks of early ends to all shards, because the invite's event may arrive in any of them."""
    for name in names:
        key = source.base + name
        value, until = await shard_map.read(
            [(source.shard, ("GET", key)), (source.shard, ("PEXPIRETIME", key))]
        )
        if value is None or until < 0 or not _ENTRY.fullmatch(value):
            continue
        others = [keys for keys in shard_map.all if keys.shard != source.shard]
        known = await shard_map.read((keys.shard, ("GET", keys.base + name)) for keys in others)
        await shard_map.execute(
            (keys.shard, ("SET", keys.base + name, value, "PXAT", until))
            for keys, there in zip(others, known, strict=True)
            if not there or not _ENTRY.fullmatch(there) or order(there.decode()) < order(value.decode())
        )


async def _spread_redials(shard_map: ShardMap, source: Keys) -> None:
    """Let all shards know that calls were made again lately, because what they have replaced may be in any of them."""
    (until,) = await shard_map.read([(source.shard, ("PEXPIRETIME", source.base + _REDIALS))])
    if until < 0:
        return
    others = [(keys.shard, keys.base + _REDIALS) for keys in shard_map.all if keys.shard != source.shard]
    await shard_map.execute((shard, ("SET", name, "1", "NX", "PXAT", until)) for shard, name in others)
    await shard_map.execute((shard, ("PEXPIREAT", name, until, "GT")) for shard, name in others)
