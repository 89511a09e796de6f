"""Moves push jobs to the shard of their invite, which decides whether a job is still wanted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from invites.events.entry import Entry
from invites.keys import Stream
from invites.lookup.pushes import UNSURE
from invites.resharding.shard_map import PAGE
from invites.resharding.streams import delivered, unread
from invites.values.ref import callee_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from invites.keys import Keys
    from invites.resharding.shard_map import ShardMap


async def move_pushes(shard_map: ShardMap, source: Keys, moved: Callable[[int], None]) -> None:
    """Move all unsettled jobs of a shard that belong to another shard.

    An interruption may leave a job in both shards; pushes are sent at least once. A job that a worker had is marked as
    unsure, because the new entry does not show that the push may have been sent.
    """
    async for page in delivered(shard_map, source, Stream.PUSH):
        marked = [Entry(job.id, {**job.fields, UNSURE: b"1"}) for job in page]
        moved(await _move_page(shard_map, source, marked))
    waiting: list[Entry] = []
    async for job in unread(shard_map, source, Stream.PUSH):
        waiting.append(job)
        if len(waiting) == PAGE:
            moved(await _move_page(shard_map, source, waiting))
            waiting = []
    moved(await _move_page(shard_map, source, waiting))


async def _move_page(shard_map: ShardMap, source: Keys, jobs: Sequence[Entry]) -> int:
    going = [
        (job, target)
        for job in jobs
        if b"ref" in job.fields
        and (target := shard_map.shard_after(callee_of(job.text(b"ref")))) != source.shard
    ]
    await shard_map.execute(
        (
            target,
            (
                "XADD",
                shard_map.all[target].push,
                "*",
                *(word for field in job.fields.items() for word in field),
            ),
        )
        for job, target in going
    )
    if going:
        ids = [job.id for job, _ in going]
        await shard_map.execute(
            [
                (source.shard, ("XACK", source.push, Stream.PUSH.group, *ids)),
                (source.shard, ("XDEL", source.push, *ids)),
            ]
        )
    return len(going)
