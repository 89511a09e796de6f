"""The relay stream of one shard: settles what earlier commits left to do, and forwards the rest to other shards."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final

from workers.loops import Role, run_forever
from workers.roles.forwarder import Forwarder

if TYPE_CHECKING:
    from collections.abc import Mapping

    from invites.events.operation import Operation
    from workers.consumer.source import Source
    from workers.consumer.ticket import Ticket
    from workers.roles.settler import Settler

MOST: Final = 5_000
"""Limit of entries in flight. Entries for an unreachable shard queue here; other shards continue until the limit."""


class Relay:
    """Settles the entries for its own shard in the order of the stream, and forwards the others."""

    def __init__(self, source: Source[Operation], settler: Settler) -> None:
        self.source = source
        self._role = Role(f"settling {source.name}", source.shard)
        self._settler = settler
        self._forwarders: dict[int, Forwarder] = {}

    def lead_to(self, settlers: Mapping[int, Settler]) -> None:
        """Set the other shards, and what settles there what this shard has for them."""
        self._forwarders = {shard: Forwarder(settler) for shard, settler in settlers.items()}

    async def run(self) -> None:
        """Settle and forward until None is in the inbox, which must come last, and all that is queued has arrived."""
        await run_forever(self._role, self._step, self.source.ended)
        await self._settler.drain()
        for forwarder in self._forwarders.values():
            await forwarder.drain()

    async def _step(self) -> None:
        async with self.source.next_batch() as batch:
            own: list[Ticket[Operation]] = []
            others: defaultdict[int, list[Ticket[Operation]]] = defaultdict(list)
            for ticket in batch.tickets:
                shard = ticket.item.shard
                (own if shard is None else others[shard]).append(ticket)
            for shard, tickets in others.items():
                self._forwarders[shard].add(tickets)
            await self._settler.settle_batch(own)

    async def aclose(self, *, lose_commits: bool = True) -> None:
        """After `run` has ended: drop what is not settled. Waits for commits under way, unless they may be lost."""
        for forwarder in self._forwarders.values():
            await forwarder.aclose(lose_commits=lose_commits)
        await self._settler.aclose(lose_commits=lose_commits)
