"""What the parts of one shard's worker share."""

from __future__ import annotations

import asyncio
import logging
import math
import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from invites.store.announcement import WorkerState

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from invites.keys import Keys, Stream
    from invites.lookup.other_shards import OtherShards
    from invites.store.commit import Committer
    from workers.context import WorkerContext


_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Shard:
    """One shard as a worker sees it; `worker` is what all its shards share, `streams` are those that it reads.

    `origin` identifies the data that it has worked with, "" before it has found any. `last_commit` is when it last
    committed entries of these streams (ms, the server's time).

    `server` is the run id of the server that has the shard, as `find_server` has last seen it at `server_seen` (s,
    monotonic). Settled entries of the relay stream from `relay_kept_from` on stay there; "" for none.
    """

    keys: Keys
    worker: WorkerContext
    commands: Redis
    committer: Committer
    other_shards: OtherShards
    streams: list[Stream] = field(default_factory=list)
    origin: str = ""
    last_commit: int | None = None
    server: str = ""
    server_seen: float = -math.inf
    relay_kept_from: str = ""

    @property
    def stopping(self) -> asyncio.Event:
        """Set when the worker takes nothing new."""
        return self.worker.stopping

    @property
    def claim_after_ms(self) -> int:
        """How long an entry stays with a worker that does nothing with it."""
        return self.worker.config.invites.claim_after

    def committed(self, at: int) -> None:
        """Entries of the shard's streams were committed at `at` (ms, the server's time)."""
        self.last_commit = at
        self.worker.metrics.last_commit(self.keys.shard, at)

    async def find_server(self) -> None:
        """Look which server has the shard. Raises what redis-py raises."""
        found = await self.commands.info("server")
        self.server, self.server_seen = str(found["run_id"]), time.monotonic()

    async def ensure(self) -> None:
        """Ensure that the server has what this worker needs: the layout, its consumer groups. Looks first.

        Announces the worker.

        Raises LayoutError, and what redis-py raises when the server is away.
        """
        worker = WorkerState(self.worker.consumer, self.worker.since, self.last_commit)
        found = await self.committer.ensure(self.streams, worker, self.origin, secrets.token_hex(8))
        made = [stream for stream in self.streams if stream.key(self.keys) in found.made]
        for stream in made if self.origin else ():
            self.worker.metrics.group_recreated(stream.group)
            _log.error(
                "The consumer group %s of %s was gone and has been made again: the server was flushed, or "
                "came back without its data, or with older data.",
                stream.group,
                stream.key(self.keys),
            )
        if found.emptied:
            _log.error(
                "The server has lost the calls and registrations of shard %d. Services are notified (serverEmptied) to "
                "publish registrations again.",
                self.keys.shard,
            )
        self.origin = found.origin
