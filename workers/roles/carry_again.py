"""Carries messages to other shards again, when a shard may have lost some: its server is another one than before.

Only in a cluster. A fail-over there can lose messages of one shard that others have already acknowledged. So a relay
stream keeps its entries for a while after they were settled. Entries that may be lost become pending again, and are
carried like all others; the target takes each only once, even those that it still has.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import NoPermissionError

from invites.events.entry import entries_of
from invites.queries.streams import after, read
from workers.aio.backoff import pause
from workers.consumer.source import Batch
from workers.loops import Role, run_forever

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Sequence

    from invites.events.operation import Operation
    from workers.consumer.shard import Shard
    from workers.consumer.source import Source

KEPT_S: Final = 60.0
"""How long an entry stays after it was settled, while all shards are reachable (s)."""

_TICK_S: Final = 1.0
_RECENT_S: Final = 5.0
_PAGE: Final = 100
_FULL_S: Final = 0.1

_log = logging.getLogger(__name__)


class CarryAgain:
    """Watches the servers of the other shards for the relay stream of one shard, and says how far to trim it.

    Each worker goes by what it has seen itself: a worker that has just carried a message to the old server learns later
    than others of the new one. A starting worker reads the servers that were last seen from the hash `servers`.
    """

    def __init__(self, source: Source[Operation]) -> None:
        self._source = source
        self._shard = source.shard
        self._role = Role(f"watching for {source.name}", source.shard)
        self._others: Sequence[Shard] = ()
        self._known: dict[int, str] | None = None
        self._settled: deque[tuple[float, str]] = deque()
        self._shard.relay_kept_from = "0-0"

    def watch(self, others: Iterable[Shard]) -> None:
        """Set the other shards."""
        self._others = tuple(others)

    async def run(self) -> None:
        """Watch until the shard is stopping."""
        await run_forever(self._role, self._step, self._shard.stopping)

    async def _step(self) -> None:
        try:
            await self._shard.find_server()
        except NoPermissionError as error:
            self._do_without(error)
        else:
            await self._look()
        self._role.works()
        await pause(_TICK_S, self._shard.stopping)

    async def _look(self) -> None:
        if self._known is None:
            found: Any = await self._shard.commands.hgetall(self._shard.keys.servers)
            self._known = {int(shard): server.decode() for shard, server in found.items()}
        recent = time.monotonic() - _RECENT_S
        seen = {other.keys.shard: other.server for other in self._others if other.server_seen >= recent}
        changed: Any = {shard: server for shard, server in seen.items() if server != self._known.get(shard)}
        if changed or len(seen) < len(self._others):  # an unreachable shard may come back on another server
            self._settled.clear()
        if not changed:
            if not self._shard.is_empty(self._source.key):
                await self._note_settled()
        elif await self._carry_again(changed):
            await self._shard.commands.hset(self._shard.keys.servers, mapping=changed)
            self._known.update(changed)

    def _do_without(self, error: NoPermissionError) -> None:
        if self._shard.relay_kept_from:
            self._shard.relay_kept_from = ""
            _log.warning(
                "Messages that another shard loses in a fail-over will not be carried again: %s", error
            )

    async def _carry_again(self, targets: Container[int | None]) -> bool:
        """Make the entries for these shards pending for this worker again, settled or not, and hand them on.

        Returns False when the shard is stopping.
        """
        source, first, last = self._source, "-", await self._delivered()
        while entries := await read(self._shard.commands, source.key, first, last, _PAGE):
            first, _ = after(entries[-1].id)
            ids = [entry.id for entry in entries if source.decode(entry).shard in targets]
            if ids and not await self._claim(ids):
                return False
        return True

    async def _claim(self, ids: Sequence[str]) -> bool:
        source, stopping = self._source, self._shard.stopping
        while source.room < len(ids) and len(source.in_flight) > 0 and not stopping.is_set():
            await pause(_FULL_S, stopping)
        if stopping.is_set():
            return False
        # FORCE: acknowledged entries, too, and those in flight here: their acknowledgement may be on its way.
        reply = await self._shard.commands.execute_command(
            b"XCLAIM", source.key, source.group, self._shard.worker.consumer, 0, *ids, "FORCE"
        )
        await source.inbox.put(Batch(await source.take_on(entries_of(reply), alone=False)))
        return True

    async def _note_settled(self) -> None:
        """Note up to which entry all are settled; those settled a while ago may be trimmed."""
        settled, now = self._settled, time.monotonic()
        # In this order: an entry that is read in between is then pending, or settled.
        delivered = await self._delivered()
        summary: Any = await self._shard.commands.xpending(self._source.key, self._source.group)
        settled.append((now, summary["min"].decode() if summary["min"] else delivered))
        while settled and settled[0][0] <= now - KEPT_S:
            _, self._shard.relay_kept_from = settled.popleft()

    async def _delivered(self) -> str:
        """The last entry that a worker has read."""
        source = self._source
        groups: Any = await self._shard.commands.xinfo_groups(source.key)
        group = next((one for one in groups if one["name"] == source.group.encode()), None)
        return group["last-delivered-id"].decode() if group else "0-0"
