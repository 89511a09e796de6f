"""When timers were due, which those that have failed keep in a note."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from invites.resharding.shard_map import ShardMap


async def due_times(
    shard_map: ShardMap, timers: Sequence[tuple[int, bytes]], scores: Sequence[bytes]
) -> list[bytes]:
    """When timers (shard, member) were due. `scores` has when each fires.

    A timer that has failed fires later than it was due. Its note stays behind: in the new shard it fires at once.
    """
    notes = await shard_map.read(
        (shard, ("GET", shard_map.all[shard].retry("").encode() + member)) for shard, member in timers
    )
    return [_due(note, score) for note, score in zip(notes, scores, strict=True)]


def _due(note: bytes | None, score: bytes) -> bytes:
    next_try, _, rest = (note or b"").partition(b" ")
    return rest.rpartition(b" ")[2] if next_try == score else score
