"""Measures how far behind the workers of one shard are."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

from invites.connection.errors import passes
from invites.keys import Stream
from invites.queries.gateways import gateway_groups, without_lag
from invites.queries.overview import Backlog, backlog
from workers.aio.backoff import pause
from workers.loops import Role, run_forever

if TYPE_CHECKING:
    from workers.consumer.shard import Shard

_TICK_S: Final = 1.0
_NOTHING: Final = Backlog(entries=0, unread=0, delivered=0, oldest_ms=0)


class Meter:
    """Measures in a loop of its own, so that nothing that fails elsewhere leaves a gauge as it was.

    A gauge that cannot be measured becomes NaN. Of empty streams it asks nothing: the janitor has looked.
    """

    def __init__(self, shard: Shard) -> None:
        self._shard = shard
        self._role = Role("measuring", shard)
        self._metrics = shard.worker.metrics
        self._readiness = shard.worker.readiness

    async def run(self) -> None:
        """Measure until the shard is stopping."""
        await run_forever(self._role, self._step, self._shard.stopping)

    async def _step(self) -> None:
        await self._round()
        self._role.works()
        await pause(_TICK_S * random.uniform(0.8, 1.2), self._shard.stopping)

    async def _round(self) -> None:
        failed: Exception | None = None
        for stream in (*Stream, None):
            if failed is None or not passes(failed):  # a server that is away costs one time-out, not four
                try:
                    await self._measure(stream)
                except Exception as error:  # noqa: BLE001 - the others are measured first
                    failed = error
                else:
                    continue
            self._forget(stream)
        if failed is not None:
            raise failed

    async def _measure(self, stream: Stream | None) -> None:
        """Measure a stream of the workers; None: the groups of the gateways."""
        commands, keys, seen = self._shard.commands, self._shard.keys, self._shard.recent()
        if stream is None:
            empty = seen is not None and keys.notifications in seen.empty
            found = without_lag(seen.groups) if seen and empty else await gateway_groups(commands, keys)
            self._metrics.groups(keys.shard, found)
            return
        empty = seen is not None and stream.key(keys) in seen.empty
        behind = _NOTHING if empty else await backlog(commands, keys, stream)
        self._metrics.backlog(keys.shard, stream, behind)
        if not behind.entries:
            self._readiness.all_settled(stream.key(keys))

    def _forget(self, stream: Stream | None) -> None:
        if stream is None:
            self._metrics.groups(self._shard.keys.shard, None)
        else:
            self._metrics.backlog(self._shard.keys.shard, stream, None)
