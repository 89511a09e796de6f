"""A consumer group: made at the start, and again when the server has lost it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from redis.exceptions import ResponseError

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from workers.telemetry.metrics import Metrics

_NO_STREAM: Final = "no such key"

_log = logging.getLogger(__name__)


class ConsumerGroup:
    """A consumer group on one stream.

    It begins at `0`, not at `$`: workers also process what was published before the first of them started, or between
    the loss of the group and its return.
    """

    def __init__(self, client: Redis, stream: str, name: str, metrics: Metrics) -> None:
        self.name = name
        self._metrics = metrics
        self._client = client
        self._stream = stream
        self._seen = False

    async def ensure(self) -> None:
        """Make the group unless it exists. Raises what redis-py raises when the server is away or full.

        Looks first: a full server refuses XGROUP CREATE also for a group that exists.
        """
        if not await self._exists() and await self._make() and self._seen:
            self._metrics.group_recreated(self.name)
            _log.error(
                "The consumer group %s of %s was gone and has been made again: the server was flushed, or "
                "came back without its data, or with older data.",
                self.name,
                self._stream,
            )
        self._seen = True

    async def _exists(self) -> bool:
        try:
            groups = await self._client.xinfo_groups(self._stream)
        except ResponseError as error:
            if _NO_STREAM not in str(error):
                raise
            return False
        return any(group["name"].decode(errors="replace") == self.name for group in groups)

    async def _make(self) -> bool:
        """Make the group. False when another worker was first."""
        try:
            await self._client.xgroup_create(self._stream, self.name, id="0", mkstream=True)
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise
            return False
        return True
