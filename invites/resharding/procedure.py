"""The reshard: stop all commits, move everything, write the new layout.

Each step can be interrupted and repeated. Until everything is done the layout of every shard records the move, and no
worker can commit.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from invites.keys import Keys, Stream
from invites.queries.overview import consumers
from invites.resharding.key_ownership import KINDS, kind_of
from invites.resharding.lease import Lease, LeaseError
from invites.resharding.pushes import move_pushes
from invites.resharding.relays import settle_relays
from invites.resharding.shard_map import ShardMap
from invites.resharding.state import count_going, move_keys
from invites.resharding.timers import move_timers
from invites.resharding.trunks import known_trunks, spread
from invites.store.layout import Layout, read

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis.asyncio import Redis

# A running worker announces itself once a second and asks for entries every 2 s. A stopping worker takes up to 10 s
# to finish.
_QUIET_MS: Final = 3_000
_STOPPED_WITHIN_S: Final = 30.0
_POLL_S: Final = 0.2
_TELL_S: Final = 2.0


class ReshardingError(Exception):
    """The calls cannot be moved. The text says why and what to do."""


class Summary(Struct, rename="camel"):
    """What was moved, or would be moved, from `before` to `after` shards. Keys of `unknown` kinds stay."""

    before: int
    after: int
    keys: int = 0
    timers: int = 0
    pushes: int = 0
    unknown: int = 0
    seconds: float = 0.0


class Resharding:
    """Moves the calls under `prefix` to `target` shards. `tell` receives progress messages for people.

    The methods raise ReshardingError and redis exceptions. After both, they can be called again.
    """

    def __init__(
        self, prefix: str, target: int, client_of: Callable[[Keys], Redis], tell: Callable[[str], None]
    ) -> None:
        self._prefix = prefix
        self._target = target
        self._client_of = client_of
        self._tell = tell
        self._first = Keys(prefix, 0, target)
        self._told_at = 0.0

    async def survey(self) -> Summary:
        """Count what would be moved. Workers continue."""
        layout = await self._layout()
        shard_map = ShardMap(self._prefix, layout.shards, self._target, self._client_of)
        summary = Summary(shard_map.before, shard_map.after)
        for keys in shard_map.old if shard_map.before != shard_map.after else ():
            async for page in shard_map.scan(keys):
                summary.keys += count_going(shard_map, keys, page)
                summary.unknown += sum(kind_of(name)[0] not in KINDS for name in page)
        return summary

    async def move(self) -> Summary:
        """Move everything, or the rest after an interruption, and write the new layout."""
        try:
            async with Lease(self._client_of(self._first), self._first.base + "resharding") as lease:
                return await self._move(lease)
        except LeaseError:
            raise ReshardingError(
                "Another `invites reshard` is running: let it finish. If it has died, try again in a few seconds."
            ) from None

    async def _move(self, lease: Lease) -> Summary:
        began, layout = time.monotonic(), await self._layout()
        shard_map = ShardMap(self._prefix, layout.shards, self._target, self._client_of)
        summary = Summary(shard_map.before, shard_map.after)
        if layout == Layout(self._target):
            return summary
        await self._stop_commits(shard_map, begun=layout.target is not None)
        if layout.target is None:
            await self._refuse_if_owed(shard_map)

        def moved(what: str, more: int) -> None:
            lease.check()
            setattr(summary, what, getattr(summary, what) + more)
            self._tell_of(summary)

        await move_all(shard_map, moved)
        summary.unknown = await self._unknown(shard_map)
        lease.check()
        done = str(Layout(shard_map.after))
        # The first shard comes last: workers check it first, and the next attempt starts from it.
        for keys in reversed(shard_map.all):
            await shard_map.client(keys.shard).set(keys.layout, done)
        summary.seconds = round(time.monotonic() - began, 3)
        return summary

    async def _layout(self) -> Layout:
        """The current layout. Raises ReshardingError when it cannot become the target layout."""
        client: Any = self._client_of(self._first)
        found = await client.get(self._first.layout)
        if found is None:
            raise ReshardingError(
                "The server has no layout, because no worker of this release has run here yet. Start a worker with the "
                "current number in redis.shards; on a server without calls, start it with the new number."
            )
        layout = read(found.decode(errors="replace"))
        if layout is None:
            raise ReshardingError(
                f"The key {self._first.layout} is not a layout: set it to the number in redis.shards."
            )
        if layout.target not in (None, self._target):
            raise ReshardingError(
                f"A reshard from {layout.shards} to {layout.target} is not finished: finish it first with "
                f"`invites reshard {layout.target}`."
            )
        if self._target < layout.shards:
            raise ReshardingError(
                f"There are {layout.shards} shards, and their number cannot decrease: publishers with the old number "
                "would write to shards that no worker reads. More shards than needed do no harm."
            )
        return layout

    async def _stop_commits(self, shard_map: ShardMap, *, begun: bool) -> None:
        await self._working(shard_map)  # a user that may not ask this must not stop the reshard
        moving = str(Layout(shard_map.before, shard_map.after))
        for keys in shard_map.all:
            await shard_map.client(keys.shard).set(keys.layout, moving)
        self._tell("Workers can no longer commit; events wait in their streams.")
        deadline, said = time.monotonic() + _STOPPED_WITHIN_S, False
        while working := await self._working(shard_map):
            if not said:
                self._tell(f"Waiting for workers to stop: {', '.join(working)}.")
                said = True
            if time.monotonic() >= deadline:
                if not begun:
                    await self._take_back(shard_map)
                raise ReshardingError(
                    f"Workers are still running: {', '.join(working)}. Stop them and try again."
                )
            await asyncio.sleep(_POLL_S)

    async def _refuse_if_owed(self, shard_map: ShardMap) -> None:
        """A shard where a write was denied must first be completed, by a worker that may write again."""
        for keys in shard_map.old:
            if await shard_map.client(keys.shard).exists(keys.owed):
                await self._take_back(shard_map)
                raise ReshardingError(
                    f"The key {keys.owed} holds writes that the ACL denied a worker: give the worker its permissions "
                    "back, start it with the current number in redis.shards, and try again."
                )

    async def _take_back(self, shard_map: ShardMap) -> None:
        """Restore the old layout. Nothing has been moved yet."""
        for keys in shard_map.all[shard_map.before :]:
            await shard_map.client(keys.shard).delete(keys.layout)
        for keys in shard_map.old:
            await shard_map.client(keys.shard).set(keys.layout, str(Layout(shard_map.before)))

    async def _working(self, shard_map: ShardMap) -> list[str]:
        """The workers that have announced themselves or asked for entries recently."""
        found = set()
        for keys in shard_map.old:
            for source in Stream:
                known = await consumers(shard_map.client(keys.shard), keys, source)
                found |= {one.name for one in known or () if one.idle_ms < _QUIET_MS}
        return sorted(found)

    async def _unknown(self, shard_map: ShardMap) -> int:
        count = 0
        for keys in shard_map.old:
            async for page in shard_map.scan(keys):
                count += sum(kind_of(name)[0] not in KINDS for name in page)
        return count

    def _tell_of(self, summary: Summary) -> None:
        now = time.monotonic()
        if now >= self._told_at + _TELL_S:
            self._told_at = now
            self._tell(f"Moved {summary.keys} keys, {summary.timers} timers, {summary.pushes} push jobs.")


async def move_all(shard_map: ShardMap, moved: Callable[[str, int], None]) -> None:
    """Move everything while no one else writes. `moved` receives the counts of `keys`, `timers` and `pushes`."""
    trunks = await known_trunks(shard_map)
    await settle_relays(shard_map, trunks)
    await spread(shard_map, trunks)
    count = 0

    def counted(what: str, more: int) -> None:
        nonlocal count
        if more:
            count += more
            moved(what, more)

    before = -1
    # Repeat until nothing is left: SCAN may miss keys while the keyspace changes.
    while count > before:
        before = count
        for keys in shard_map.old:
            await move_timers(shard_map, keys, trunks, partial(counted, "timers"))
        for keys in shard_map.old:
            await move_pushes(shard_map, keys, partial(counted, "pushes"))
            await move_keys(shard_map, keys, partial(counted, "keys"))
