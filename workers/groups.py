"""The consumer group of the events: made at the start, and again whenever the server has lost it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from redis.exceptions import ResponseError

from invites.keys import WORKERS_GROUP

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from invites.keys import Keys
    from workers.metrics import Metrics

_log = logging.getLogger(__name__)


class Groups:
    """The consumer group `workers` on the events of one shard.

    It begins at `0` and not at `$`: what was published before the first worker started, or between the loss of
    the group and its return, is processed too.
    """

    def __init__(self, client: Redis, keys: Keys, metrics: Metrics) -> None:
        self._metrics = metrics
        self._client = client
        self._keys = keys
        self._seen = False

    async def ensure(self) -> None:
        """Make the group unless it is there. Raises what redis-py raises when the server is away."""
        try:
            await self._client.xgroup_create(self._keys.events, WORKERS_GROUP, id="0", mkstream=True)
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise
        else:
            if self._seen:
                self._metrics.group_recreated()
                _log.error(
                    "The consumer group %s of %s was gone and has been made again: the server was flushed, or "
                    "came back without its data, or with older data.",
                    WORKERS_GROUP,
                    self._keys.events,
                )
        self._seen = True
