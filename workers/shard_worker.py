"""The worker of one shard: its consumers, timers, janitor and meter, started and stopped together."""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING, Any, Final

from invites.connection.clients import BLOCK_MS, connect
from invites.events.decoding import decode_event_entry, decode_relay_entry
from invites.keys import Stream
from invites.logs import messages
from invites.lookup.callee import CalleeLookup
from invites.lookup.other_shards import OtherShards
from invites.lookup.pushes import decode_push_entry
from invites.lookup.resolver import Resolver
from invites.store.commit import Committer
from workers.aio.tasks import begin, end_loops
from workers.consumer.batch_size import BatchSize
from workers.consumer.consumer import StreamConsumer
from workers.consumer.shard import Shard
from workers.consumer.source import Source
from workers.roles.carry_again import CarryAgain
from workers.roles.commits import LocalCommit, LowWatermark, RelayedCommit
from workers.roles.janitor import Janitor
from workers.roles.meter import Meter
from workers.roles.push import MOST as MOST_PUSHES
from workers.roles.push import Pushes
from workers.roles.relay import MOST as MOST_RELAYED
from workers.roles.relay import Relay
from workers.roles.settler import Settler
from workers.roles.timers import Timers
from workers.telemetry.reports import Reports

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from invites.events.entry import Entry
    from invites.events.operation import Operation
    from invites.keys import Keys
    from invites.lookup.pushes import Push
    from invites.sippo import SippoServer
    from workers.consumer.ticket import Item
    from workers.context import WorkerContext
    from workers.roles.commits import Commit

# A relay entry is the next page of an effect on many calls, some 2 ms of the server's time: a commit takes few of them.
_FEWEST_RELAYED: Final = 1
_FIRST_RELAYED: Final = 4


class ShardWorker:
    """Consumes each stream of one shard, fires its timers, keeps it small and measures it."""

    def __init__(self, keys: Keys, worker: WorkerContext) -> None:
        settings, commands = worker.config.settings(), worker.clients.of(keys)
        self.shard = Shard(
            keys=keys,
            worker=worker,
            commands=commands,
            committer=Committer(
                worker.clients.ordered(keys), keys, settings, worker.scripts, verbosity=messages.verbosity()
            ),
            other_shards=OtherShards(keys, worker.clients.of, lambda keys: worker.clients.reads(keys).call),
        )
        self._reports = Reports(worker.metrics)
        lookup = (
            None
            if worker.sippo is None
            else CalleeLookup(
                worker.sippo, settings, nested=worker.config.invites.basic.resolve_nested_groups
            )
        )
        self._resolver = Resolver(commands, keys, self.shard.other_shards, lookup)
        self._timers = Timers(self.shard, self._reports)
        self._carry_again: CarryAgain | None = None
        self._consumers: list[StreamConsumer[Any]] = [self._events(), self._relay()]
        if worker.sippo is not None:
            self._consumers.append(self._pushes(worker.sippo))
        self._janitor = Janitor(self.shard, self._timers)
        self._meter = Meter(self.shard)
        self._tasks: list[asyncio.Task[None]] = []

    def meet(self, others: Iterable[ShardWorker]) -> None:
        """Set the workers of the other shards: this shard's messages for them are carried there."""
        others = tuple(others)
        if self._carry_again:
            self._carry_again.watch(other.shard for other in others)
        source = self._relay_role.source
        low_watermark = LowWatermark(source)
        self._relay_role.lead_to(
            {other.shard.keys.shard: other.settles_relayed(source, low_watermark) for other in others}
        )

    def settles_relayed(self, source: Source[Operation], low_watermark: LowWatermark) -> Settler:
        """Settles in this shard the messages from another shard's relay stream."""
        commit = RelayedCommit(source, low_watermark, self.shard)
        return self._make_settler(source, BatchSize(), commit, self.shard)

    def start(self) -> list[asyncio.Task[None]]:
        """Start the loops. No task ends before the shard is stopping, unless it has a bug."""
        self._tasks = begin((self._timers, self._janitor, self._meter), f"shard {self.shard.keys.shard}")
        return self._tasks + [task for consumer in self._consumers for task in consumer.start()]

    async def drain(self, within_s: float) -> None:
        """With `stopping` set: finish the work in hand within the time, then hand back the rest."""
        self._timers.wake()
        draining = [consumer.drain(within_s) for consumer in self._consumers]
        await asyncio.gather(*draining, self._finish_loops(within_s))

    async def aclose(self) -> None:
        """End all loops at once and close the connections of the reads. Other workers claim the entries in flight."""
        await self._end_loops()
        for consumer in self._consumers:
            await consumer.aclose()

    async def _finish_loops(self, within_s: float) -> None:
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=within_s)
        await self._end_loops()

    async def _end_loops(self) -> None:
        tasks, self._tasks = self._tasks, []
        await end_loops(tasks)

    def _events(self) -> StreamConsumer[Operation]:
        batch_size = BatchSize()
        source = self._source(Stream.EVENTS, decode_event_entry, keys=self.shard.keys)
        settler = self._make_settler(source, batch_size, LocalCommit(source))
        return StreamConsumer(source, settler, batch_size)

    def _relay(self) -> StreamConsumer[Operation]:
        source = self._source(Stream.RELAY, decode_relay_entry, keys=self.shard.keys)
        source.most = MOST_RELAYED
        several = self.shard.keys.shards > 1
        batch_size = BatchSize() if several else BatchSize(_FEWEST_RELAYED, _FIRST_RELAYED)
        self._relay_role = Relay(source, self._make_settler(source, batch_size, LocalCommit(source)))
        intake = []
        if several and self.shard.worker.clients.kind == "cluster":
            self._carry_again = CarryAgain(source)
            intake.append(self._carry_again)
        return StreamConsumer(source, self._relay_role, batch_size, intake)

    def _pushes(self, sippo: SippoServer) -> StreamConsumer[Push | Operation]:
        config = self.shard.worker.config
        at_once = max(1, config.invites.basic.wac.max_concurrent // config.redis.shards)
        source, batch_size = self._source(Stream.PUSH, decode_push_entry), BatchSize()
        source.most = MOST_PUSHES
        settler = self._make_settler(source, batch_size, LocalCommit(source))
        return StreamConsumer(source, Pushes(source, settler, sippo, at_once), batch_size)

    def _make_settler(
        self, source: Source[Any], batch_size: BatchSize, commit: Commit, target: Shard | None = None
    ) -> Settler:
        return Settler(source, batch_size, commit, self._resolver, self._reports, self._timers, target)

    def _source(self, stream: Stream, decode: Callable[..., Item], **options: Keys) -> Source[Item]:
        shard, worker = self.shard, self.shard.worker
        reads = connect(worker.url, f"reads-{stream.value}", keys=shard.keys, block_ms=BLOCK_MS)
        shard.streams.append(stream)
        decoding: Callable[[Entry], Item] = functools.partial(
            decode, max_deliveries=worker.config.invites.max_deliveries, **options
        )
        return Source(shard, stream, reads, decoding)
