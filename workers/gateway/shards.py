"""Whether the gateway reads all shards: one with fewer misses calls, and one with more publishes where nobody reads."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Final

from redis.exceptions import NoPermissionError, RedisError

from invites.client.servers import until_served
from invites.client.shard_count import DENIED_S
from invites.connection.clients import Clients
from invites.keys import Keys
from invites.store.layout import LayoutError, mismatch, unreadable

if TYPE_CHECKING:
    from invites.config import Redis

_EVERY_S: Final = 5.0

_log = logging.getLogger(__name__)


class Shards:
    """Compares `redis.shards` with the server's number of shards. The owner must call `aclose`."""

    def __init__(self, redis: Redis, url: str) -> None:
        self.wrong: LayoutError | None = None
        """Why the gateway must not serve; None if it may."""
        self._shards = redis.shards
        self._first = Keys(redis.prefix, 0, redis.shards)
        self._clients = Clients(url, "gateway")
        self._was_denied = False
        self._wait_s = _EVERY_S

    async def check(self) -> None:
        """Look once. Waits for an unreachable server. Raises LayoutError and redis exceptions."""
        await until_served("Reading the number of shards", self._look)
        if self.wrong is not None:
            raise self.wrong

    async def watch(self) -> None:
        """Look again and again, until cancelled: `invites reshard` changes the number."""
        while True:
            await asyncio.sleep(self._wait_s)
            before = self.wrong
            with contextlib.suppress(RedisError, OSError):  # whoever reads the notifications reports it
                await self._look()
            if self.wrong is not None and str(self.wrong) != str(before):
                _log.error("%s", self.wrong)

    async def aclose(self) -> None:
        """Close the connection."""
        await self._clients.aclose()

    async def _look(self) -> None:
        self._wait_s = _EVERY_S
        try:
            self.wrong = await mismatch(self._clients.of(self._first), self._first, self._shards)
        except NoPermissionError:
            self._wait_s = DENIED_S
            if not self._was_denied:
                _log.warning("%s", unreadable(self._first))
            self._was_denied = True
