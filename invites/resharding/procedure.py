"""The move from beginning to end: stop all commits, move everything, let the new workers begin.

Each step may be interrupted, and be done again: the layout of every shard says that a move is under way until all of it
is done, and nobody else writes meanwhile.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from invites.keys import Keys
from invites.queries.overview import consumers
from invites.resharding.key_ownership import KINDS, kind_of
from invites.resharding.lease import Lease, LeaseError
from invites.resharding.pushes import move_pushes
from invites.resharding.relays import settle_relays
from invites.resharding.shard_map import ShardMap
from invites.resharding.state import count_going, move_keys
from invites.resharding.timers import move_timers
from invites.resharding.trunks import known_trunks, spread
from invites.store.commit import Source
from invites.store.layout import Layout, read

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis.asyncio import Redis

MOST_SHARDS: Final = 1_024

# A worker that works asks for entries every 2 s; one that stops takes 10 s for what it has begun.
_QUIET_MS: Final = 3_000
_STOPPED_WITHIN_S: Final = 30.0
_LOOK_S: Final = 0.2
_TELL_S: Final = 2.0


class ReshardingError(Exception):
    """The calls cannot be moved; the text is a sentence that says why, and what to do."""


class Summary(Struct, rename="camel"):
    """What was moved, or would be: so many keys, timers and push jobs, in so many seconds; `unknown` keys stay."""

    before: int
    after: int
    keys: int = 0
    timers: int = 0
    pushes: int = 0
    unknown: int = 0
    seconds: float = 0.0


class Resharding:
    """Moves the calls below `prefix` to `target` shards. `tell` hears how far it is, in words for people.

    The methods raise ReshardingError, and what redis-py raises; both can be tried again.
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
        """Count what would be moved, while all go on."""
        layout = await self._layout()
        shard_map = ShardMap(self._prefix, layout.shards, self._target, self._client_of)
        summary = Summary(shard_map.before, shard_map.after)
        for keys in shard_map.old if shard_map.before != shard_map.after else ():
            async for page in shard_map.scan(keys):
                summary.keys += count_going(shard_map, keys, page)
                summary.unknown += sum(kind_of(name)[0] not in KINDS for name in page)
        return summary

    async def move(self) -> Summary:
        """Move everything, or what is left of an earlier attempt, and say that it is done."""
        try:
            async with Lease(self._client_of(self._first), self._first.base + "resharding") as lease:
                return await self._move(lease)
        except LeaseError:
            raise ReshardingError(
                "Another `invites reshard` is at work: let it finish. If it has died, try again in a moment."
            ) from None

    async def _move(self, lease: Lease) -> Summary:
        began, layout = time.monotonic(), await self._layout()
        shard_map = ShardMap(self._prefix, layout.shards, self._target, self._client_of)
        summary = Summary(shard_map.before, shard_map.after)
        if layout == Layout(self._target):
            return summary
        await self._stop_commits(shard_map, begun=layout.target is not None)

        def moved(what: str, more: int) -> None:
            lease.check()
            setattr(summary, what, getattr(summary, what) + more)
            self._tell_of(summary)

        await move_all(shard_map, moved)
        summary.unknown = await self._unknown(shard_map)
        lease.check()
        done = str(Layout(shard_map.after))
        # The first shard comes last: it is what a worker asks before all others, and what the next attempt begins with.
        for keys in reversed(shard_map.all):
            await shard_map.client(keys.shard).set(keys.layout, done)
        summary.seconds = round(time.monotonic() - began, 3)
        return summary

    async def _layout(self) -> Layout:
        """The layout that there is. Raises ReshardingError when it cannot become the one that is wanted."""
        client: Any = self._client_of(self._first)
        found = await client.get(self._first.layout)
        if found is None:
            raise ReshardingError(
                "Nothing says how many shards there are: no worker of this release has worked here yet. Start one with "
                "the number that there is now in redis.shards; on a server without calls just begin with the new one."
            )
        layout = read(found.decode(errors="replace"))
        if layout is None:
            raise ReshardingError(
                f"{self._first.layout} is no layout: set it to the number that there is in redis.shards."
            )
        if layout.target not in (None, self._target):
            raise ReshardingError(
                f"The calls are on their way from {layout.shards} shards to {layout.target}: finish that first, with "
                f"`invites reshard {layout.target}`."
            )
        if self._target < layout.shards:
            raise ReshardingError(
                f"There are {layout.shards} shards, and they cannot become fewer: publishers that count as before "
                "would go on to write to shards that nobody reads. More of them than needed do no harm."
            )
        return layout

    async def _stop_commits(self, shard_map: ShardMap, *, begun: bool) -> None:
        moving = str(Layout(shard_map.before, shard_map.after))
        for keys in shard_map.all:
            await shard_map.client(keys.shard).set(keys.layout, moving)
        self._tell("No worker can commit any more; events wait in their streams.")
        deadline, said = time.monotonic() + _STOPPED_WITHIN_S, False
        while working := await self._working(shard_map):
            if not said:
                self._tell(f"Waiting for workers to stop: {', '.join(working)}.")
                said = True
            if time.monotonic() >= deadline:
                if not begun:
                    await self._take_back(shard_map)
                raise ReshardingError(
                    f"Workers go on asking for entries: {', '.join(working)}. Stop them, and try again."
                )
            await asyncio.sleep(_LOOK_S)

    async def _take_back(self, shard_map: ShardMap) -> None:
        """Nothing has been moved: all can go on as it was."""
        for keys in shard_map.all[shard_map.before :]:
            await shard_map.client(keys.shard).delete(keys.layout)
        for keys in shard_map.old:
            await shard_map.client(keys.shard).set(keys.layout, str(Layout(shard_map.before)))

    async def _working(self, shard_map: ShardMap) -> list[str]:
        """The workers that have asked for entries lately."""
        found = set()
        for keys in shard_map.old:
            for source in Source:
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
    """Move everything, while nobody else writes. `moved` hears how many `keys`, `timers` and `pushes`, now and then."""
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
    # Once more, until there is nothing: a page may have been left out that changed while it was read.
    while count > before:
        before = count
        for keys in shard_map.old:
            await move_timers(shard_map, keys, trunks, partial(counted, "timers"))
        for keys in shard_map.old:
            await move_pushes(shard_map, keys, partial(counted, "pushes"))
            await move_keys(shard_map, keys, partial(counted, "keys"))
