"""A consumer group: made at the start, and again whenever the server has lost it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from redis.exceptions import ResponseError

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from workers.telemetry.metrics import Metrics

_log = logging.getLogger(__name__)


class ConsumerGroup:
    """A consumer group on one stream.

    It begins at `0` and not at `$`: what was published before the first worker started, or between the loss of
    the group and its return, is processed too.
    """

    def __init__(self, client: Redis, stream: str, name: str, metrics: Metrics) -> None:
        self.name = name
        self._metrics = metrics
        self._client = client
        self._stream = stream
        self._seen = False

    async def ensure(self) -> None:
        """Make the group unless it is there. Raises what redis-py raises when the server is away."""
        try:
            await self._client.xgroup_create(self._stream, self.name, id="0", mkstream=True)
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise
        else:
            if self._seen:
                self._metrics.group_recreated(self.name)
                _log.error(
                    "The consumer group %s of %s was gone and has been made again: the server was flushed, or "
                    "came back without its data, or with older data.",
                    self.name,
                    self._stream,
                )
        self._seen = True
