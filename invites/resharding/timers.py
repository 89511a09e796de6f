"""Moves timers to the shards of their names."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from invites.resharding.due_times import due_times
from invites.resharding.key_ownership import TIMERS
from invites.resharding.shard_map import PAGE
from invites.values.ref import callee_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from invites.keys import Keys
    from invites.resharding.shard_map import ShardMap
    from invites.resharding.trunks import Trunks


async def move_timers(
    shard_map: ShardMap, source: Keys, trunks: Trunks, moved: Callable[[int], None]
) -> None:
    """Move all timers of a shard that belong to another one. Must run before the keys are moved."""
    cursor = b"0"
    while True:
        ((cursor, flat),) = await shard_map.execute(
            [(source.shard, ("ZSCAN", source.timers, cursor, "COUNT", PAGE))]
        )
        for start in range(0, len(flat), 2 * PAGE):
            page = flat[start : start + 2 * PAGE]
            moved(await _move_page(shard_map, source, trunks, page[::2], page[1::2]))
        if cursor == b"0":
            return


async def _move_page(
    shard_map: ShardMap, source: Keys, trunks: Trunks, members: Sequence[bytes], scores: Sequence[bytes]
) -> int:
    calls = await _calls_of_lost(shard_map, source, members)
    dues = await due_times(shard_map, [(source.shard, member) for member in members], scores)
    added: defaultdict[int, list[bytes]] = defaultdict(list)
    removed: list[bytes] = []
    for member, due in zip(members, dues, strict=True):
        targets = _targets(shard_map, source, trunks, member.decode(errors="replace"), calls.get(member, []))
        for target in targets - {source.shard}:
            added[target] += (due, member)
        if targets and source.shard not in targets:
            removed.append(member)
    # GT: the longer of two grace periods of a trunk's peer wins.
    await shard_map.execute(
        (target, ("ZADD", shard_map.all[target].timers, "GT", *some)) for target, some in added.items()
    )
    if removed:
        await shard_map.execute([(source.shard, ("ZREM", source.timers, *removed))])
    return len(removed)


def _targets(shard_map: ShardMap, source: Keys, trunks: Trunks, timer: str, calls: Sequence[str]) -> set[int]:
    """The shards that must have a timer; empty when it stays as it is."""
    kind, _, rest = timer.partition("|")
    if kind not in TIMERS:
        return set()
    user = TIMERS[kind](rest)
    if kind == "lapse" and rest in trunks:
        return set()  # every shard has its own
    targets = {shard_map.shard_after(callee_of(ref)) for ref in calls}
    if kind in ("ring", "step", "caller") or shard_map.shard_before(user) == source.shard:
        targets.add(shard_map.shard_after(user))
    return targets


async def _calls_of_lost(
    shard_map: ShardMap, source: Keys, members: Sequence[bytes]
) -> dict[bytes, list[str]]:
    """For each timer of a lost device: the refs of the invites that ring its user in this shard.

    Their callees are other names than the user when the device is a trunk's.
    """
    lost = [
        (member, member.decode(errors="replace").split("|")[1])
        for member in members
        if member.startswith(b"grace|")
    ]
    ringing = await shard_map.read((source.shard, ("SMEMBERS", source.pending(user))) for _, user in lost)
    return {
        member: [ref.decode(errors="replace") for ref in refs or ()]
        for (member, _), refs in zip(lost, ringing, strict=True)
    }
