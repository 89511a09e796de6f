"""The loops of one shard, started and stopped together."""

from __future__ import annotations

import asyncio
import functools
import logging
from typing import TYPE_CHECKING, Any, Final

from invites.connection.clients import BLOCK_MS, connect
from invites.events.operations import relayed, to_operation
from invites.logs import messages
from invites.lookup.callee import LookUps
from invites.lookup.other_shards import Elsewhere
from invites.lookup.pushes import to_push
from invites.lookup.resolver import Resolver
from invites.store.commit import Committer, Source
from workers.aio.tasks import begin, end
from workers.consumer.batch_size import Pace
from workers.consumer.consumer import Intake
from workers.consumer.group import ConsumerGroup
from workers.consumer.shard import Feed, Item, Shard
from workers.roles.forwarder import Carrier
from workers.roles.janitor import Housekeeping
from workers.roles.push import MOST as MOST_PUSHES
from workers.roles.push import Pushes
from workers.roles.relay import MOST as MOST_RELAYED
from workers.roles.relay import Relay
from workers.roles.settler import Settler
from workers.roles.timers import Timers
from workers.telemetry.reports import Reports

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from invites.config import Config
    from invites.connection.clients import Clients
    from invites.events.operations import Entry, Operation
    from invites.keys import Keys
    from invites.lookup.pushes import Push
    from invites.sippo import SippoServer
    from invites.store.commit import Commit, Settled
    from invites.store.layout import LayoutError
    from invites.store.scripts import Scripts
    from workers.telemetry.metrics import Metrics
    from workers.telemetry.outage import Outage
    from workers.telemetry.readiness import Readiness

_HAND_BACK_S: Final = 2.0
# A relay entry is the next page of what concerns many, some 2 ms of the server's time: a commit takes few of them.
_FEWEST_RELAYED: Final = 1
_FIRST_RELAYED: Final = 4

_log = logging.getLogger(__name__)


class ShardLoops:
    """Taking in and settling each stream, firing timers and keeping house, for one shard."""

    def __init__(  # noqa: PLR0913 - what all shards of a worker share
        self,
        keys: Keys,
        config: Config,
        url: str,
        *,
        consumer: str,
        clients: Clients,
        sippo: SippoServer | None,
        scripts: Scripts,
        metrics: Metrics,
        readiness: Readiness,
        outage: Outage,
        stopping: asyncio.Event,
        misplaced: Callable[[LayoutError], None],
    ) -> None:
        settings, commands = config.settings(), clients.of(keys)
        self.shard = Shard(
            keys=keys,
            consumer=consumer,
            commands=commands,
            committer=Committer(commands, keys, settings, scripts, verbosity=messages.verbosity()),
            elsewhere=Elsewhere(keys, clients.of),
            outage=outage,
            claim_after_ms=config.invites.claim_after,
            max_deliveries=config.invites.max_deliveries,
            stopping=stopping,
            misplaced=misplaced,
        )
        self._url = url
        self._metrics = metrics
        self._readiness = readiness
        self._reports = Reports(metrics)
        look_ups = None if sippo is None else LookUps(sippo, settings)
        self._resolver = Resolver(commands, keys, self.shard.elsewhere, look_ups)
        self._timers = Timers(self.shard, self._reports)
        pace = Pace()
        self._intakes: list[Intake[Any]] = [self._events(pace), self._relay()]
        if sippo is not None:
            at_once = max(1, config.invites.basic.wac.max_concurrent // config.redis.shards)
            self._intakes.append(self._pushes(sippo, at_once))
        self._housekeeping = Housekeeping(self.shard, pace, metrics)
        self._tasks: list[asyncio.Task[None]] = []

    def meet(self, others: Iterable[ShardLoops]) -> None:
        """There are other shards: what this one has for them is carried there."""
        feed = self._relay_role.feed
        self._relay_role.lead_to({other.shard.keys.shard: other.settles_carried(feed) for other in others})

    def settles_carried(self, feed: Feed[Operation]) -> Settler:
        """Settles here what the relay stream of another shard has for this one."""
        return self._settles(feed, Pace(), Carrier(feed, self.shard).commit)

    async def ensure_groups(self) -> None:
        """Make the consumer groups that are not there. Raises what redis-py raises when the server is away."""
        for intake in self._intakes:
            await intake.feed.group.ensure()

    def start(self) -> list[asyncio.Task[None]]:
        """Start the loops. None of the tasks ends before the shard is stopping, unless it is broken."""
        self._tasks = begin((self._timers, self._housekeeping), f"shard {self.shard.keys.shard}")
        for intake in self._intakes:
            self._tasks += intake.start()
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
            left = sum(len(intake.feed.progress) for intake in self._intakes)
            _log.warning("%d entries could not be settled within %g s; others will.", left, within_s)
        await self.cancel(lose_commits=False)
        try:
            async with asyncio.timeout(_HAND_BACK_S):
                for intake in self._intakes:
                    await intake.leave()
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
        for intake in self._intakes:
            await intake.abandon(lose_commits=lose_commits)

    async def close(self) -> None:
        """Close the connections that the reads go over."""
        for intake in self._intakes:
            await intake.close()

    async def _finish(self) -> None:
        self._timers.wake()
        await asyncio.gather(*(intake.finish() for intake in self._intakes))
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _events(self, pace: Pace) -> Intake[Operation]:
        decode = functools.partial(
            to_operation, max_deliveries=self.shard.max_deliveries, keys=self.shard.keys
        )
        feed = self._feed(Source.EVENTS, decode)
        self._settler = self._settles(feed, pace)
        return Intake(feed, self._settler, pace, self._readiness, self._metrics)

    def _relay(self) -> Intake[Operation]:
        decode = functools.partial(relayed, max_deliveries=self.shard.max_deliveries, keys=self.shard.keys)
        several = self.shard.keys.shards > 1
        feed = self._feed(Source.RELAY, decode)
        feed.most = MOST_RELAYED
        pace = Pace() if several else Pace(_FEWEST_RELAYED, _FIRST_RELAYED)
        self._relay_role = Relay(feed, self._settles(feed, pace))
        return Intake(feed, self._relay_role, pace, self._readiness, self._metrics)

    def _pushes(self, sippo: SippoServer, at_once: int) -> Intake[Push | Operation]:
        decode = functools.partial(to_push, max_deliveries=self.shard.max_deliveries)
        feed, pace = self._feed(Source.PUSH, decode), Pace()
        feed.most = MOST_PUSHES
        role = Pushes(feed, self._settles(feed, pace), sippo, at_once, self._metrics)
        return Intake(feed, role, pace, self._readiness, self._metrics)

    def _settles(self, feed: Feed[Any], pace: Pace, commit: Commit | None = None) -> Settler:
        async def commit_here(operations: Sequence[Operation]) -> Settled:
            seen = await self.shard.elsewhere.see_rooms(operations)
            return await self.shard.committer.settle(seen, feed.source)

        commit = commit or commit_here
        return Settler(feed, pace, commit, self._resolver, self._reports, self._timers.heard)

    def _feed(self, source: Source, decode: Callable[[Entry], Item]) -> Feed[Item]:
        keys = self.shard.keys
        reads = connect(self._url, f"reads-{source.name.lower()}", keys=keys, block_ms=BLOCK_MS)
        group = ConsumerGroup(self.shard.commands, source.stream(keys), source.group, self._metrics)
        return Feed(self.shard, source, reads, group, decode)
