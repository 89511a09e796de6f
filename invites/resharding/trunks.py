"""Copies trunks to all shards. The shard of a trunk's user is authoritative."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final

import msgspec

from invites.events.entry import order
from invites.resharding.due_times import due_times

if TYPE_CHECKING:
    from invites.resharding.shard_map import Command, ShardMap


class _Registered(msgspec.Struct):
    id: str
    user: str
    at: str = "0-0"


_TRUNK: Final = msgspec.json.Decoder(_Registered)

Trunks = dict[str, tuple[str, bytes]]
"""user|peer -> the user, and the registration as stored."""


async def known_trunks(shard_map: ShardMap) -> Trunks:
    """All trunks, as the shards of their users know them."""
    replies = await shard_map.execute((keys.shard, ("HGETALL", keys.trunks)) for keys in shard_map.old)
    known: dict[str, tuple[_Registered, bytes]] = {}
    for keys, flat in zip(shard_map.old, replies, strict=True):
        for raw in flat[1::2]:
            with contextlib.suppress(msgspec.DecodeError):  # not a registration
                trunk = _TRUNK.decode(raw)
                field = f"{trunk.user}|{trunk.id}"
                later = field not in known or order(known[field][0].at) < order(trunk.at)
                if shard_map.shard_before(trunk.user) == keys.shard and later:
                    known[field] = trunk, raw
    return {field: (trunk.user, raw) for field, (trunk, raw) in known.items()}


async def spread(shard_map: ShardMap, trunks: Trunks) -> None:
    """Copy trunks and their lapse timers to every shard, under a new version.

    A trunk that has ended stays in a shard until that shard gets the news. Fields of a release before 0.2.0, named by
    the peer alone, get the names that they have now (lua/reach/trunks.lua).
    """
    if not trunks:
        return
    lapses = await _lapses(shard_map, trunks)
    fields = [word for field, (_, raw) in trunks.items() for word in (field, raw)]
    former = [field.partition("|")[2] for field in trunks]
    for keys in shard_map.all:
        commands: list[Command] = [
            ("HSET", keys.trunks, *fields),
            ("HDEL", keys.trunks, *former),
            ("SET", keys.trunks_version, f"{shard_map.before}>{shard_map.after}"),
        ]
        if lapses:
            commands.append(("ZADD", keys.timers, *lapses))
        await shard_map.execute((keys.shard, command) for command in commands)


async def _lapses(shard_map: ShardMap, trunks: Trunks) -> list[Any]:
    """The lapse timers of trunks: due times and members alternately."""
    timers = [
        (shard_map.shard_before(user), f"lapse|{field}".encode()) for field, (user, _) in trunks.items()
    ]
    scores = await shard_map.execute(
        (shard, ("ZSCORE", shard_map.all[shard].timers, member)) for shard, member in timers
    )
    found = [(timer, score) for timer, score in zip(timers, scores, strict=True) if score is not None]
    dues = await due_times(shard_map, [timer for timer, _ in found], [score for _, score in found])
    return [word for ((_, member), _), due in zip(found, dues, strict=True) for word in (due, member)]
