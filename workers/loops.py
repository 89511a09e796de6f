"""The loops of one shard, started and stopped together."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from invites import messages
from invites.commit import Committer
from invites.connections import BLOCK_MS, connect
from invites.resolution import Resolver
from workers.claims import Claims
from workers.groups import Groups
from workers.housekeeping import Housekeeping
from workers.pace import Pace
from workers.reader import Reader
from workers.reports import Reports
from workers.settler import Settler
from workers.shard import Shard
from workers.tasks import end
from workers.timers import Timers

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from invites.config import Config
    from invites.keys import Keys
    from invites.scripts import Scripts
    from workers.metrics import Metrics
    from workers.outage import Outage
    from workers.readiness import Readiness

_UNBLOCK_S: Final = 0.05  # a read may begin to wait just after it was told not to
_HAND_BACK_S: Final = 2.0

_log = logging.getLogger(__name__)


class ShardLoops:
    """Reading, settling, claiming, firing timers and keeping house, for one shard."""

    def __init__(  # noqa: PLR0913 - what all shards of a worker share
        self,
        keys: Keys,
        config: Config,
        url: str,
        *,
        consumer: str,
        commands: Redis,
        scripts: Scripts,
        metrics: Metrics,
        readiness: Readiness,
        outage: Outage,
        stopping: asyncio.Event,
    ) -> None:
        self.shard = Shard(
            keys=keys,
            consumer=consumer,
            commands=commands,
            reads=connect(url, "reads", keys=keys, block_ms=BLOCK_MS),
            committer=Committer(commands, keys, config.settings(), scripts, verbosity=messages.verbosity()),
            groups=Groups(commands, keys, metrics),
            outage=outage,
            claim_after_ms=config.invites.claim_after,
            max_deliveries=config.invites.max_deliveries,
            stopping=stopping,
        )
        pace = Pace()
        reports = Reports(metrics)
        self._reader = Reader(self.shard, pace, readiness)
        self._timers = Timers(self.shard, reports)
        resolver = Resolver(commands, keys)
        self._settler = Settler(self.shard, pace, resolver, reports, self._timers.heard)
        self._claims = Claims(self.shard, metrics)
        self._housekeeping = Housekeeping(self.shard, pace, metrics)
        self._input: list[asyncio.Task[None]] = []
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> list[asyncio.Task[None]]:
        """Start the loops. None of the tasks ends before the shard is stopping, unless it is broken."""
        roles = (self._reader, self._claims, self._settler, self._timers, self._housekeeping)
        self._tasks = [
            asyncio.create_task(role.run(), name=f"{type(role).__name__} of shard {self.shard.keys.shard}")
            for role in roles
        ]
        self._input = self._tasks[:2]
        return self._tasks

    async def drain(self, within_s: float) -> None:
        """With `stopping` set: finish what was begun within the time, then hand back what is left."""
        finishing = asyncio.create_task(self._finish())
        try:
            await asyncio.wait([finishing], timeout=within_s)
        finally:
            late = not finishing.done()
            await end([finishing])
        if late:
            _log.warning(
                "%d events could not be settled within %g s; others will.", len(self.shard.progress), within_s
            )
        await self.cancel(lose_commits=False)
        try:
            async with asyncio.timeout(_HAND_BACK_S):
                handed_back = await self._claims.hand_back()
                if handed_back:
                    _log.info("Handed %d events back.", handed_back)
                else:
                    await self.shard.committer.retire_consumer(self.shard.consumer, 0)
        except Exception as error:  # noqa: BLE001 - they are claimed all the same, a little later
            _log.warning("What this worker has left could not be handed back: %s", error)

    async def cancel(self, *, lose_commits: bool) -> None:
        """End the loops at once. A commit that is under way is waited for, unless its answer may be lost."""
        tasks, self._tasks = self._tasks, []
        await end(tasks)
        for task in tasks:
            error = None if task.cancelled() else task.exception()
            if error is not None:
                _log.error("The %s had ended.", task.get_name(), exc_info=error)
        await self._settler.abandon(lose_commits=lose_commits)

    async def close(self) -> None:
        """Close the connection that the reads go over."""
        await self.shard.reads.aclose()

    async def _finish(self) -> None:
        self._timers.wake()
        while any(not task.done() for task in self._input):
            await self._reader.unblock()
            await asyncio.wait(self._input, timeout=_UNBLOCK_S)
        await self.shard.inbox.put(None)
        if self._tasks:
            await asyncio.wait(self._tasks)
