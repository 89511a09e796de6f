"""One stream of a shard, from reading to settling: its loops, started and stopped together."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Final, Generic, Protocol

from workers.aio.tasks import begin, end, end_loops
from workers.consumer.lease import Lease
from workers.consumer.reader import Reader
from workers.consumer.reclaimer import Reclaimer
from workers.consumer.ticket import Item

if TYPE_CHECKING:
    from collections.abc import Iterable

    from workers.aio.tasks import Loop
    from workers.consumer.batch_size import BatchSize
    from workers.consumer.source import Source

_UNBLOCK_S: Final = 0.05  # a read may begin to block just after it was unblocked
_COMMITS_S: Final = 1.0
"""How long a consumer that has run out of time still waits for the answers of commits under way."""
_HAND_BACK_S: Final = 2.0

_log = logging.getLogger(__name__)


class StreamRole(Protocol):
    """The role that settles the batches of a source."""

    async def run(self) -> None:
        """Settle until None is in the inbox, which must come last."""

    async def aclose(self, *, lose_commits: bool = True) -> None:
        """After `run` has ended or was cancelled: drop unsettled entries.

        Waits for commits under way, unless their answers may be lost.
        """


class StreamConsumer(Generic[Item]):
    """Consumes a stream in its consumer group: reads, reclaims, renews the entries in flight; `role` settles them.

    `intake` are more loops that put batches into the inbox, until the shard is stopping.
    """

    def __init__(
        self, source: Source[Item], role: StreamRole, batch_size: BatchSize, intake: Iterable[Loop] = ()
    ) -> None:
        self.source = source
        self._role = role
        self._reader = Reader(source, batch_size)
        self._reclaimer = Reclaimer(source)
        self._lease = Lease(source)
        self._intake: tuple[Loop, ...] = (self._reader, self._reclaimer, *intake)
        self._input: list[asyncio.Task[None]] = []
        self._settling: list[asyncio.Task[None]] = []
        self._keeping: list[asyncio.Task[None]] = []

    def start(self) -> list[asyncio.Task[None]]:
        """Start the loops. No task ends before the shard is stopping, unless it has a bug."""
        where = f"{self.source.name} of shard {self.source.shard.keys.shard}"
        self._input = begin(self._intake, where)
        self._settling = begin((self._role,), where)
        self._keeping = begin((self._lease,), where)
        return self._input + self._settling + self._keeping

    async def drain(self, within_s: float) -> None:
        """With `stopping` set: take in nothing more, settle the entries in hand, and hand back the rest.

        Entries that are not settled after `within_s` are handed back too, which takes another 3 s at most.
        """
        finishing = asyncio.create_task(self._finish())
        try:
            await asyncio.wait([finishing], timeout=within_s)
        finally:
            late = not finishing.done()
            await end([finishing])
        if late:
            left = len(self.source.in_flight)
            _log.warning(
                "%d entries of %s could not be settled within %g s; other workers will.",
                left,
                self.source.name,
                within_s,
            )
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_COMMITS_S):
                await self._cancel(lose_commits=False)
        await self._cancel(lose_commits=True)
        try:
            async with asyncio.timeout(_HAND_BACK_S):
                await self._hand_back()
        except Exception as error:  # noqa: BLE001 - others claim the entries all the same, a little later
            _log.warning("This worker could not hand back its entries of %s: %s", self.source.name, error)

    async def aclose(self) -> None:
        """End the loops at once and close the connection of the reads. Other workers claim the entries in flight."""
        await self._cancel(lose_commits=True)
        await self._reader.aclose()
        await self.source.reads.aclose()

    async def _finish(self) -> None:
        self._reclaimer.wake()
        while any(not task.done() for task in self._input):
            await self._reader.unblock()
            await asyncio.wait(self._input, timeout=_UNBLOCK_S)
        await self.source.inbox.put(None)
        if self._settling:
            await asyncio.wait(self._settling)

    async def _cancel(self, *, lose_commits: bool) -> None:
        await end_loops(self._input + self._settling + self._keeping)
        self._input, self._settling, self._keeping = [], [], []
        await self._role.aclose(lose_commits=lose_commits)

    async def _hand_back(self) -> None:
        """Hand back the entries pending for this worker; without any, delete its consumer from the group."""
        source, shard = self.source, self.source.shard
        handed_back = await self._lease.hand_back()
        if handed_back:
            _log.info("Handed %d entries of %s back.", handed_back, source.name)
        else:
            await shard.committer.retire_consumer(shard.worker.consumer, 0, source.stream)
