"""The two ways of a commit: in the shard of the stream, or in another shard."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, Protocol

from invites.queries.streams import read
from invites.store.answers import Status
from invites.store.commit import SettleMode, TakeMode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from invites.events.operation import Operation
    from invites.store.answers import CommitResult
    from workers.consumer.shard import Shard
    from workers.consumer.source import Source

_SETTLED: Final = frozenset({Status.DONE, Status.STALE, Status.LOST})
_LOW_WATERMARK_S: Final = 1.0
# A stream that keeps its entries may have lost the last ones in a fail-over, and give lower ids then: the new server's
# clock may be behind. An entry this much older than the first one has certainly left the stream.
_MARGIN_MS: Final = 30_000


class Commit(Protocol):
    """Commits operations of one stream."""

    async def prepare(self, operations: Sequence[Operation]) -> Sequence[Operation]:
        """The operations, with the state of rooms in other shards for their invites. Never raises."""

    async def commit(self, operations: Sequence[Operation]) -> CommitResult:
        """Commit the prepared operations. Raises redis exceptions and LayoutError; committing again is safe."""


class LocalCommit:
    """Commits entries of a stream in their own shard: each with its acknowledgement."""

    def __init__(self, source: Source[Any]) -> None:
        self._shard = source.shard
        self._mode = SettleMode(source.stream)

    async def prepare(self, operations: Sequence[Operation]) -> Sequence[Operation]:
        """See the rooms that are in other shards than this one."""
        return await self._shard.other_shards.see_rooms(operations)

    async def commit(self, operations: Sequence[Operation]) -> CommitResult:
        """Commit the operations."""
        return await self._shard.commit(operations, self._mode)


class LowWatermark:
    """The entry of a relay stream before which none comes again: the targets forget what they took before it."""

    def __init__(self, source: Source[Operation]) -> None:
        self._source = source
        self._raised_at = 0.0
        self.value = "0-0"

    async def rise(self) -> None:
        """Look once a second.

        It is the first entry that is pending: there is one, since the entries at hand are. Where settled entries may
        come again (see `workers.roles.carry_again`) it is before the first one in the stream.
        """
        now = time.monotonic()
        if now < self._raised_at + _LOW_WATERMARK_S:
            return
        self._raised_at = now  # the other targets go on with the present one meanwhile
        try:
            self.value = await self._find() or self.value
        except Exception:
            self._raised_at = 0.0
            raise

    async def _find(self) -> str | None:
        source = self._source
        if source.shard.relay_kept_from:
            for first in await read(source.shard.commands, source.key, count=1):
                return f"{max(0, first.at - _MARGIN_MS)}-0"
            return None
        reads = source.shard.worker.clients.reads(source.shard.keys)
        _, first_pending, *_ = await reads.call("XPENDING", source.key, source.group)
        return None if first_pending is None else first_pending.decode()


class RelayedCommit:
    """Commits entries of a relay stream in the shard `target`, then acknowledges them in their own shard.

    A worker that dies in between leaves them to be carried again. The target takes each once.
    """

    def __init__(self, source: Source[Operation], low_watermark: LowWatermark, target: Shard) -> None:
        self._source = source
        self._low_watermark = low_watermark
        self._target = target

    async def prepare(self, operations: Sequence[Operation]) -> Sequence[Operation]:
        """See the rooms that are in other shards than the target."""
        return await self._target.other_shards.see_rooms(operations)

    async def commit(self, operations: Sequence[Operation]) -> CommitResult:
        """Commit the operations in the target. Also raises when the source's shard is unreachable."""
        await self._low_watermark.rise()
        source, target = self._source, self._target
        mode = TakeMode(source.shard.keys.shard, self._low_watermark.value)
        while True:
            server = target.server
            result = await target.commit(operations, mode)
            if target.server == server:
                break  # otherwise the old server may have answered, and the new one lacks the effects
        settled = [
            operation.entry
            for operation, outcome in zip(operations, result.outcomes, strict=True)
            if outcome.status in _SETTLED
        ]
        if settled:
            ordered = source.shard.worker.clients.ordered(source.shard.keys)
            await ordered.execute_command("XACK", source.key, source.group, *settled)
        return result
