"""The loop of every role: it survives each error, and logs once what keeps it from working."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final, Protocol, assert_never

from invites.connection.errors import ErrorKind, classify
from workers.aio.backoff import Backoff

if TYPE_CHECKING:
    import asyncio

    from workers.consumer.shard import Shard

_REMIND_S: Final = 30.0

_log = logging.getLogger(__name__)


class Step(Protocol):
    """One round of a loop. An exception ends the round, not the loop."""

    async def __call__(self) -> None: ...  # noqa: D102


class Role:
    """A loop of one shard, with its name in logs and metrics.

    `target` is the shard that it works in, if that is another one. With several shards, logs name both.
    """

    def __init__(self, name: str, shard: Shard, target: Shard | None = None) -> None:
        self.name = name
        self.shard = shard
        self._place = "" if shard.keys.shards == 1 else f" of shard {shard.keys.shard}"
        if target is not None:
            self._place += f" for shard {target.keys.shard}"
        self._remind_at = 0.0
        shard.worker.metrics.expect_errors(name)

    def works(self) -> None:
        """The server has executed the role's command."""
        self.shard.worker.outage.over(self.name, self._place)

    def waits(self, error: BaseException) -> None:
        """The server cannot execute it now; the role tries again."""
        self.shard.worker.outage.met(self.name, error, self._place)

    async def survive(self, error: Exception) -> None:
        """Handle the error that ended a round, so that the next one may work."""
        match kind := classify(error):
            case ErrorKind.UNAVAILABLE | ErrorKind.FULL | ErrorKind.MOVED:
                self.waits(error)
            case ErrorKind.NO_GROUP:
                await self._ensure()
            case ErrorKind.REFUSED:
                self.shard.worker.refused(error)
            case ErrorKind.BUG:
                self._report(error)
            case _:
                assert_never(kind)

    async def _ensure(self) -> None:
        try:
            await self.shard.ensure()
        except Exception as error:  # noqa: BLE001 - the next round may work
            await self.survive(error)

    def _report(self, error: Exception) -> None:
        self.shard.worker.metrics.redis_error(self.name)
        now = time.monotonic()
        if now >= self._remind_at:
            self._remind_at = now + _REMIND_S
            _log.error("A round of %s has failed; the loop continues.", self.name, exc_info=error)


async def run_forever(role: Role, step: Step, until: asyncio.Event | None = None) -> None:
    """Repeat a step until the event is set (None: until cancelled). After an error it backs off."""
    backoff = Backoff()
    while until is None or not until.is_set():
        try:
            await step()
        except Exception as error:  # noqa: BLE001 - a worker that lives and has lost a loop is the worst of all
            await role.survive(error)
            await backoff.wait(until)
        else:
            backoff.reset()
