"""The shared state of one shard's worker."""

from __future__ import annotations

import asyncio
import logging
import math
import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from invites.store.announcement import WorkerState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redis.asyncio import Redis

    from invites.events.operation import Operation
    from invites.keys import Keys, Stream
    from invites.lookup.other_shards import OtherShards
    from invites.store.answers import CommitResult, Ensured
    from invites.store.commit import Committer, SettleMode, TakeMode
    from workers.context import WorkerContext

FRESH_S: Final = 2.0
"""For how long a worker relies on its last look at a shard. It looks once a second."""

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Shard:
    """One shard as a worker sees it; `worker` is shared by all its shards, `streams` are those that it reads.

    `origin` identifies the data that it has worked with, "" before it has found any. `last_commit` is when it last
    committed entries of these streams (ms, the server's time).

    `server` is the run id of the server that has the shard, as `find_server` has last seen it at `server_seen` (s,
    monotonic). Settled entries of the relay stream from `relay_kept_from` on stay there; "" for none.

    `seen` says what there was to do at `seen_at` (s, monotonic), as `ensure` found it. `unsettled` has an event for
    each stream that this worker claims from, by its key: set while entries are pending there.
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
    seen: Ensured | None = None
    seen_at: float = -math.inf
    unsettled: dict[str, asyncio.Event] = field(default_factory=dict)

    @property
    def stopping(self) -> asyncio.Event:
        """Set when the worker takes nothing new."""
        return self.worker.stopping

    @property
    def claim_after_ms(self) -> int:
        """How long an entry stays with a worker that does not settle or renew it."""
        return self.worker.config.invites.claim_after

    def committed(self, at: int) -> None:
        """Entries of the shard's streams were committed at `at` (ms, the server's time)."""
        self.last_commit = at
        self.worker.metrics.last_commit(self.keys.shard, at)

    async def commit(self, operations: Sequence[Operation], mode: SettleMode | TakeMode) -> CommitResult:
        """Commit operations in this shard. Raises as `Committer.commit` does.

        If the server cannot tell how long it took, the time of its answer counts. All shards of one server share the
        connection of their commits.
        """
        called_at = time.perf_counter()
        result = await self.committer.commit(operations, mode)
        answered_s = self.worker.clients.ordered(self.keys).took(called_at)
        result.server_s = result.server_s or answered_s
        return result

    async def find_server(self) -> None:
        """Look which server has the shard. Raises what redis-py raises."""
        found = await self.commands.info("server")
        self.server, self.server_seen = str(found["run_id"]), time.monotonic()

    def is_empty(self, stream: str) -> bool:
        """Whether a stream, by its key, had no entries a moment ago, and none was pending."""
        seen = self.recent()
        return seen is not None and stream in seen.empty

    def recent(self) -> Ensured | None:
        """What there was to do a moment ago. None: ask the server."""
        return self.seen if time.monotonic() < self.seen_at + FRESH_S else None

    def nothing_to_claim_s(self, stream: str) -> float:
        """For how long (s) no entry of a stream, by its key, can be claimed, unless a worker hands it back.

        An entry that was not pending a moment ago is not old enough until `claimAfter` has passed since.
        """
        if self.seen is None or stream not in self.seen.settled:
            return 0.0
        return max(0.0, self.seen_at + self.claim_after_ms / 1000 - time.monotonic())

    async def ensure(self) -> Ensured:
        """Ensure that the server has what this worker needs: the layout, its consumer groups. Looks first.

        Announces the worker, and learns what there is to do.

        Raises LayoutError, and redis exceptions when the server is unreachable.
        """
        worker = WorkerState(self.worker.consumer, self.worker.since, self.last_commit)
        asked_at = time.monotonic()
        found = await self.committer.ensure(self.streams, worker, self.origin, secrets.token_hex(8))
        self.seen, self.seen_at = found, asked_at
        for key, unsettled in self.unsettled.items():
            if key in found.settled:
                unsettled.clear()
            else:
                unsettled.set()
        made = [stream for stream in self.streams if stream.key(self.keys) in found.made]
        for stream in made if self.origin else ():
            self.worker.metrics.group_recreated(stream.group)
            _log.error(
                "The consumer group %s of %s was missing and has been created again: the server was flushed, or "
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
        return found
