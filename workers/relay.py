"""Settles what earlier commits have left to do: the relay stream of one shard."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from invites.operations import Operation
    from workers.settler import Settler
    from workers.shard import Feed


class Relay:
    """Settles the entries of its own shard, as they come: with one shard there are no others."""

    def __init__(self, feed: Feed[Operation], settler: Settler) -> None:
        self._feed = feed
        self._settler = settler

    async def run(self) -> None:
        """Settle until None is in the inbox, which must come last."""
        while (work := await self._feed.inbox.get()) is not None:
            await self._settler.settle(work.items, alone=work.alone)
        await self._settler.finish()

    async def abandon(self, *, lose_commits: bool) -> None:
        """After `run` was cancelled: drop what is not settled, and wait for the commits that are under way."""
        await self._settler.abandon(lose_commits=lose_commits)
