"""The relay stream of one shard: settles the work that earlier commits left, and forwards the rest to other shards."""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Final

from invites.events.arguments import RelayArguments
from invites.events.entry import order
from workers.loops import Role, run_forever
from workers.roles.forwarder import Forwarder

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from invites.events.operation import Operation
    from workers.consumer.source import Source
    from workers.consumer.ticket import Ticket
    from workers.roles.settler import Settler

MOST: Final = 5_000
"""Limit of entries in flight. Entries for an unreachable shard queue here; other shards continue until the limit."""
OTHERS_MS: Final = 3_600_000
"""How long a message waits for a worker of the release that knows it (ms). Then it fails like any other."""

_SAY_S: Final = 60.0

_log = logging.getLogger(__name__)


class Relay:
    """Settles the entries for its own shard in the order of the stream, and forwards the others."""

    def __init__(self, source: Source[Operation], settler: Settler) -> None:
        self.source = source
        self._role = Role(f"settling {source.name}", source.shard)
        self._settler = settler
        self._forwarders: dict[int, Forwarder] = {}
        self._known = source.shard.worker.scripts.messages | {""}
        self._say_at = 0.0

    def lead_to(self, settlers: Mapping[int, Settler]) -> None:
        """Set the other shards, and their settlers for this shard's messages."""
        self._forwarders = {shard: Forwarder(settler) for shard, settler in settlers.items()}

    async def run(self) -> None:
        """Settle and forward until None is in the inbox, which must come last, and all queued entries have arrived."""
        await run_forever(self._role, self._step, self.source.ended)
        await self._settler.drain()
        for forwarder in self._forwarders.values():
            await forwarder.drain()

    async def _step(self) -> None:
        async with self.source.next_batch() as batch:
            own: list[Ticket[Operation]] = []
            others: defaultdict[int, list[Ticket[Operation]]] = defaultdict(list)
            for ticket in await self._leave_to_others(batch.tickets):
                shard = ticket.item.shard
                (own if shard is None else others[shard]).append(ticket)
            for shard, tickets in others.items():
                self._forwarders[shard].add(tickets)
            await self._settler.settle_batch(own)

    async def _leave_to_others(self, tickets: Sequence[Ticket[Operation]]) -> Sequence[Ticket[Operation]]:
        """Leave messages that only the rules of another release know to its workers. Returns the other tickets."""
        unknown = [ticket for ticket in tickets if _message(ticket) not in self._known]
        if not unknown:
            return tickets
        commands, shard = self.source.shard.commands, self.source.shard
        seconds, _ = await commands.time()
        left = [ticket for ticket in unknown if order(ticket.entry)[0] > seconds * 1000 - OTHERS_MS]
        if left:
            # These deliveries must not count: maxDeliveries is for failures.
            ids = [ticket.entry for ticket in left]
            given = (0, *ids, "RETRYCOUNT", 0, "JUSTID")
            await commands.execute_command(
                b"XCLAIM", self.source.key, self.source.group, shard.worker.consumer, *given
            )
            self._say(left)
        for ticket in left:
            ticket.leave()
        return [ticket for ticket in tickets if ticket not in left]

    def _say(self, left: Sequence[Ticket[Operation]]) -> None:
        if time.monotonic() >= self._say_at:
            self._say_at = time.monotonic() + _SAY_S
            _log.warning(
                "Messages in %s, such as %s, are left to workers of another release: this one does not know them.",
                self.source.key,
                _message(left[0]),
            )

    async def aclose(self, *, lose_commits: bool = True) -> None:
        """After `run` has ended: drop what is not settled. Waits for commits under way, unless they may be lost."""
        for forwarder in self._forwarders.values():
            await forwarder.aclose(lose_commits=lose_commits)
        await self._settler.aclose(lose_commits=lose_commits)


def _message(ticket: Ticket[Operation]) -> str:
    """The kind of message; "" if it is none."""
    arguments = ticket.item.arguments
    return arguments.message if isinstance(arguments, RelayArguments) else ""
