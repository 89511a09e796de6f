"""Moves push jobs to the shard of their invite: whether a job is still wanted is asked beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from invites.events.entry import Entry
from invites.keys import Stream
from invites.lookup.pushes import UNSURE
from invites.resharding.key_ownership import callee_of
from invites.resharding.shard_map import PAGE
from invites.resharding.streams import delivered, unread

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from invites.keys import Keys
    from invites.resharding.shard_map import Places


async def move_pushes(places: Places, source: Keys, moved: Callable[[int], None]) -> None:
    """Move all jobs of a shard that are not settled and belong elsewhere.

    Whoever is interrupted in between leaves jobs in both shards: pushes are sent at least once. As new entries they do
    not tell any more that a worker had them, and may have sent them: that is written into them.
    """
    async for page in delivered(places, source, Stream.PUSH):
        marked = [Entry(job.id, {**job.fields, UNSURE: b"1"}) for job in page]
        moved(await _move_page(places, source, marked))
    waiting: list[Entry] = []
    async for job in unread(places, source, Stream.PUSH):
        waiting.append(job)
        if len(waiting) == PAGE:
            moved(await _move_page(places, source, waiting))
            waiting = []
    moved(await _move_page(places, source, waiting))


async def _move_page(places: Places, source: Keys, jobs: Sequence[Entry]) -> int:
    going = [
        (job, target)
        for job in jobs
        if b"ref" in job.fields and (target := places.home(callee_of(job.text(b"ref")))) != source.shard
    ]
    await places.ask(
        (
            target,
            ("XADD", places.all[target].push, "*", *(word for field in job.fields.items() for word in field)),
        )
        for job, target in going
    )
    if going:
        ids = [job.id for job, _ in going]
        await places.ask(
            [
                (source.shard, ("XACK", source.push, Stream.PUSH.group, *ids)),
                (source.shard, ("XDEL", source.push, *ids)),
            ]
        )
    return len(going)
