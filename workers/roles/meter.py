"""Measures how far behind the workers of one shard are."""

from __future__ import annotations

import math
import random
import time
from functools import partial
from typing import TYPE_CHECKING, Final

from redis.exceptions import RedisError

from invites.connection.errors import passes
from invites.keys import Stream
from invites.queries.gateways import gateway_groups, without_lag
from invites.queries.overview import Backlog, backlog, timers
from workers.aio.backoff import pause
from workers.loops import Role, run_forever

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from workers.consumer.shard import Shard

_TICK_S: Final = 1.0
# Counting pending invites looks at all timers. It is repeated after a hundred times as long as it took.
_COUNT_S: Final = 5.0
_SHARE: Final = 100
_NOTHING: Final = Backlog(entries=0, unread=0, delivered=0, oldest_ms=0)


class Meter:
    """Measures in a loop of its own, so that a failure elsewhere never leaves a stale gauge.

    A gauge that cannot be measured becomes NaN. It asks nothing about empty streams: the janitor has looked.
    """

    def __init__(self, shard: Shard) -> None:
        self._shard = shard
        self._role = Role("measuring", shard)
        self._metrics = shard.worker.metrics
        self._readiness = shard.worker.readiness
        self._count_at = 0.0

    async def run(self) -> None:
        """Measure until the shard is stopping."""
        await run_forever(self._role, self._step, self._shard.stopping)

    async def _step(self) -> None:
        await self._round()
        self._role.works()
        await pause(_TICK_S * random.uniform(0.8, 1.2), self._shard.stopping)

    async def _round(self) -> None:
        failed: Exception | None = None
        for measure, forget in self._gauges():
            if failed is None or not passes(failed):  # an unreachable server costs one time-out, not six
                try:
                    await measure()
                except Exception as error:  # noqa: BLE001 - the others are measured first
                    failed = error
                else:
                    continue
            forget()
        if failed is not None:
            raise failed

    def _gauges(self) -> list[tuple[Callable[[], Awaitable[None]], Callable[[], None]]]:
        """For each gauge: how to measure it, and its value when that fails."""
        shard, metrics = self._shard.keys.shard, self._metrics
        streams = [
            (partial(self._measure, stream), partial(metrics.backlog, shard, stream, None))
            for stream in Stream
        ]
        return [
            *streams,
            (self._measure_groups, partial(metrics.groups, shard, None)),
            (self._count_dead_letters, partial(metrics.dead_letters_kept, shard, math.nan)),
            (self._count_pending, self._forget_pending),
            (self._write_minutes, _nothing),
        ]

    async def _measure(self, stream: Stream) -> None:
        commands, keys = self._shard.commands, self._shard.keys
        empty = self._shard.is_empty(stream.key(keys))
        behind = _NOTHING if empty else await backlog(commands, keys, stream)
        self._metrics.backlog(keys.shard, stream, behind)
        if not behind.entries:
            self._readiness.all_settled(stream.key(keys))

    async def _measure_groups(self) -> None:
        commands, keys, seen = self._shard.commands, self._shard.keys, self._shard.recent()
        empty = seen is not None and keys.notifications in seen.empty
        found = without_lag(seen.groups) if seen and empty else await gateway_groups(commands, keys)
        self._metrics.groups(keys.shard, found)

    async def _count_dead_letters(self) -> None:
        keys = self._shard.keys
        kept = 0 if self._shard.is_empty(keys.dead) else await self._shard.commands.xlen(keys.dead)
        self._metrics.dead_letters_kept(keys.shard, kept)

    async def _count_pending(self) -> None:
        started = time.monotonic()
        if started < self._count_at:
            return
        kinds = await timers(self._shard.commands, self._shard.keys)
        ended = time.monotonic()
        self._count_at = ended + max(_COUNT_S, _SHARE * (ended - started))
        self._metrics.pending_invites(self._shard.keys.shard, kinds["ring"])

    async def _write_minutes(self) -> None:
        if self._shard.keys.shard:
            return
        shard = self._shard
        try:
            await self._metrics.calls.minutes.write(shard.commands, shard.keys, shard.worker.consumer)
        except RedisError as error:
            if not passes(error):  # a server that refuses writes may still be measured
                raise

    def _forget_pending(self) -> None:
        self._count_at = 0.0
        self._metrics.pending_invites(self._shard.keys.shard, math.nan)


def _nothing() -> None:
    """The counts are written later."""
