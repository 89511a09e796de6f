"""Brings what the relay stream of one shard has for another one there."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from invites.store.commit import Status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from invites.events.operations import Operation
    from invites.store.commit import Settled
    from workers.consumer.shard import Feed, Shard

_DONE: Final = frozenset({Status.DONE, Status.STALE})
# What the target remembers of the entries that it took can be forgotten once they are settled in the source.
_FLOOR_S: Final = 1.0


class Carrier:
    """Commits entries of the relay stream `feed` in the shard `target`, then acknowledges them where they are from.

    Whoever dies in between leaves them to be carried again; the target takes each once.
    """

    def __init__(self, feed: Feed[Operation], target: Shard) -> None:
        self._feed = feed
        self._target = target
        self._floor = "0-0"
        self._floor_at = 0.0

    async def commit(self, operations: Sequence[Operation]) -> Settled:
        """Raises what redis-py raises when either shard is away; carrying again is safe."""
        source, target = self._feed.shard, self._target
        await self._raise_floor()
        seen = await target.other_shards.see_rooms(operations)
        settled = await target.committer.take(source.keys.shard, self._floor, seen)
        done = [
            operation.entry
            for operation, outcome in zip(operations, settled.outcomes, strict=True)
            if outcome.status in _DONE
        ]
        if done:
            await source.commands.xack(self._feed.stream, self._feed.group.name, *done)
        return settled

    async def _raise_floor(self) -> None:
        """Find out before which entry everything is settled: those at hand are pending, so there is a first one."""
        now = time.monotonic()
        if now < self._floor_at + _FLOOR_S:
            return
        summary = await self._feed.shard.commands.xpending(self._feed.stream, self._feed.group.name)
        if summary["min"] is not None:
            self._floor = summary["min"].decode()
        self._floor_at = now
