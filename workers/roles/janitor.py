"""Keeps one shard small, and its layout, groups and library on the server."""

from __future__ import annotations

import functools
import logging
import random
import time
from typing import TYPE_CHECKING, Final

from invites.connection.errors import passes
from invites.keys import Stream
from invites.queries.overview import consumers
from workers.aio.backoff import pause
from workers.loops import Role, run_forever
from workers.roles.retention import DeadRetention, NotificationRetention, PersonalRetention

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from workers.consumer.shard import Shard
    from workers.roles.timers import Timers

    _Task = Callable[[], Awaitable[None]]

_TICK_S: Final = 1.0
_RETIRE_S: Final = 60.0
_DROP_S: Final = 3600.0  # a worker that still needs a dropped library loads it again
# A live worker announces itself once a second. One that has been silent for this long is gone.
_RETIRED_MS: Final = 300_000

_log = logging.getLogger(__name__)


class Janitor:
    """Trims settled entries, drops those that nobody reads, deletes the consumers of dead workers.

    Ensures once a second what the worker needs on the server. That also announces it, and says what there is to do:
    empty streams cost nothing else, here and in other loops.

    All workers do this, each at its own times: the next one finds the work of the last one done.
    """

    def __init__(self, shard: Shard, timers: Timers) -> None:
        self._shard = shard
        self._timers = timers
        self._role = Role("keeping house", shard)
        self._metrics = shard.worker.metrics
        self._retentions = (NotificationRetention(shard), DeadRetention(shard), PersonalRetention(shard))
        self._retire_at = time.monotonic() + _RETIRE_S * random.random()
        self._drop_at = time.monotonic() + _DROP_S * random.uniform(0.5, 1.0)

    async def run(self) -> None:
        """Keep house until the shard is stopping."""
        await run_forever(self._role, self._step, self._shard.stopping)

    async def _step(self) -> None:
        await self._round()
        self._role.works()
        await pause(_TICK_S * random.uniform(0.9, 1.0), self._shard.stopping)

    async def _round(self) -> None:
        shard = self._shard
        seen = await shard.ensure()
        self._timers.seen(seen.next_due, seen.now)
        full = (key for key in shard.committer.trimmed_streams if key not in seen.empty)
        tasks: list[_Task] = [functools.partial(self._trim, key) for key in full]
        tasks += [retention.apply for retention in self._retentions]
        failed = [error for task in tasks if (error := await _attempt(task))]
        if failed:
            raise failed[0]
        if time.monotonic() >= self._retire_at:
            self._retire_at = time.monotonic() + _RETIRE_S
            await self._retire()
        if time.monotonic() >= self._drop_at:
            self._drop_at = time.monotonic() + _DROP_S
            for name in await shard.committer.drop_other_releases():
                _log.info("Deleted the functions of another release of the workers, %s.", name)

    async def _trim(self, key: str) -> None:
        kept_from = self._shard.relay_kept_from if key == self._shard.keys.relay else ""
        self._metrics.trimmed(key, await self._shard.committer.trim(key, kept_from))

    async def _retire(self) -> None:
        shard = self._shard
        for stream in Stream:
            for consumer in await consumers(shard.commands, shard.keys, stream) or []:
                gone = consumer.pending == 0 and not consumer.alive and consumer.idle_ms >= _RETIRED_MS
                # The function looks again: the worker may have come back in between.
                if gone and await shard.committer.retire_consumer(consumer.name, _RETIRED_MS, stream):
                    _log.info("Deleted the consumer %s of a worker that is gone.", consumer.name)


async def _attempt(task: _Task) -> Exception | None:
    """Do one task. Returns its error, so that one stream does not stop the others."""
    try:
        await task()
    except Exception as error:
        if passes(error):
            raise
        return error
    return None
