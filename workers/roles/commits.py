"""The two ways of a commit: in the shard of the stream, or in another shard."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, Protocol

from invites.store.commit import SettleMode, Status, TakeMode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from invites.events.operation import Operation
    from invites.store.commit import CommitResult
    from workers.consumer.shard import Shard
    from workers.consumer.source import Source

_SETTLED: Final = frozenset({Status.DONE, Status.STALE, Status.LOST})
_LOW_WATERMARK_S: Final = 1.0


class Commit(Protocol):
    """Commits operations of one stream."""

    async def commit(self, operations: Sequence[Operation]) -> CommitResult:
        """Commit the operations. Raises what redis-py raises, and LayoutError; committing again is safe."""


class LocalCommit:
    """Commits entries of a stream in their own shard: each with its acknowledgement."""

    def __init__(self, source: Source[Any]) -> None:
        self._shard = source.shard
        self._mode = SettleMode(source.stream)

    async def commit(self, operations: Sequence[Operation]) -> CommitResult:
        """Commit the operations, with what the rooms of other shards say about their invites."""
        seen = await self._shard.other_shards.see_rooms(operations)
        return await self._shard.committer.commit(seen, self._mode)


class RelayedCommit:
    """Commits entries of a relay stream in the shard `target`, then acknowledges them in their own shard.

    A worker that dies in between leaves them to be carried again. The target takes each once.
    """

    def __init__(self, source: Source[Operation], target: Shard) -> None:
        self._source = source
        self._target = target
        self._low_watermark = "0-0"
        self._raised_at = 0.0

    async def commit(self, operations: Sequence[Operation]) -> CommitResult:
        """Commit the operations in the target. Raises too when the source's shard is away."""
        await self._raise_low_watermark()
        source, target = self._source, self._target
        seen = await target.other_shards.see_rooms(operations)
        result = await target.committer.commit(seen, TakeMode(source.shard.keys.shard, self._low_watermark))
        settled = [
            operation.entry
            for operation, outcome in zip(operations, result.outcomes, strict=True)
            if outcome.status in _SETTLED
        ]
        if settled:
            await source.shard.commands.xack(source.key, source.group, *settled)
        return result

    async def _raise_low_watermark(self) -> None:
        """Find the entry before which everything is settled: the first one that is pending.

        There is one, since the entries at hand are pending. The target forgets what it took before that entry.
        """
        now = time.monotonic()
        if now < self._raised_at + _LOW_WATERMARK_S:
            return
        source = self._source
        summary = await source.shard.commands.xpending(source.key, source.group)
        if summary["min"] is not None:
            self._low_watermark = summary["min"].decode()
        self._raised_at = now
