"""One stream of a shard, from reading to settling: its loops, started and stopped together."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final, Generic, Protocol

from workers.aio.tasks import begin
from workers.consumer.lease import Renewal
from workers.consumer.reader import Reader
from workers.consumer.reclaimer import Claims
from workers.consumer.shard import Item

if TYPE_CHECKING:
    from workers.consumer.batch_size import Pace
    from workers.consumer.shard import Feed
    from workers.telemetry.metrics import Metrics
    from workers.telemetry.readiness import Readiness

_UNBLOCK_S: Final = 0.05  # a read may begin to wait just after it was told not to

_log = logging.getLogger(__name__)


class Role(Protocol):
    """Who settles what comes in."""

    async def run(self) -> None:
        """Settle until None is in the inbox."""

    async def abandon(self, *, lose_commits: bool) -> None:
        """After `run` was cancelled: drop what is not settled."""


class Intake(Generic[Item]):
    """Reads a stream in its consumer group, claims what others left, keeps what is under way; `role` settles it."""

    def __init__(
        self, feed: Feed[Item], role: Role, pace: Pace, readiness: Readiness, metrics: Metrics
    ) -> None:
        self.feed = feed
        self._role = role
        self._reader = Reader(feed, pace, readiness)
        self._claims = Claims(feed, metrics)
        self._renewal = Renewal(feed)
        self._input: list[asyncio.Task[None]] = []
        self._settling: list[asyncio.Task[None]] = []
        self._renewing: list[asyncio.Task[None]] = []

    def start(self) -> list[asyncio.Task[None]]:
        """Start the loops. None of the tasks ends before the shard is stopping, unless it is broken."""
        where = f"{self.feed.name} of shard {self.feed.shard.keys.shard}"
        self._input = begin((self._reader, self._claims), where)
        self._settling = begin((self._role,), where)
        self._renewing = begin((self._renewal,), where)
        return self._input + self._settling + self._renewing

    async def finish(self) -> None:
        """With `stopping` set: take in nothing more, and settle what is there."""
        while any(not task.done() for task in self._input):
            await self._reader.unblock()
            await asyncio.wait(self._input, timeout=_UNBLOCK_S)
        await self.feed.inbox.put(None)
        if self._settling:
            await asyncio.wait(self._settling)
        self._renewal.end()
        if self._renewing:
            await asyncio.wait(self._renewing)

    async def abandon(self, *, lose_commits: bool) -> None:
        """After the loops were cancelled: drop what is not settled."""
        await self._role.abandon(lose_commits=lose_commits)

    async def leave(self) -> None:
        """Hand back what is pending for this worker; if nothing is, delete its name from the group."""
        handed_back = await self._renewal.hand_back()
        if handed_back:
            _log.info("Handed %d entries of %s back.", handed_back, self.feed.name)
        else:
            shard = self.feed.shard
            await shard.committer.retire_consumer(shard.consumer, 0, self.feed.source)

    async def close(self) -> None:
        """Close the connection that the reads go over."""
        await self.feed.reads.aclose()
