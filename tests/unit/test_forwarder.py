"""The messages that are forwarded to another shard together."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from invites.events.arguments import BundleArguments, RelayArguments
from invites.events.operation import Operation
from workers.consumer.budget import ByteBudget
from workers.consumer.ticket import InFlight, Ticket
from workers.roles.forwarder import Forwarder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workers.roles.settler import Settler


class Recorder:
    """Replaces a settler and notes the batches."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []

    async def settle(self, tickets: Sequence[Ticket[Operation]]) -> None:
        self.batches.append([ticket.entry for ticket in tickets])

    async def drain(self) -> None:
        """Nothing is set aside."""


async def batches(*counts: int, alone: str = "") -> list[list[str]]:
    """The batches of entries 0, 1, … that have this many messages (0: an entry with one, which is no bundle)."""
    in_flight, recorder = InFlight(ByteBudget(1_000_000)), Recorder()
    tickets: list[Ticket[Operation]] = []
    for number, count in enumerate(counts):
        ticket: Ticket[Operation] = Ticket(str(number), in_flight, alone=str(number) == alone)
        arguments = (
            BundleArguments("[" + ",".join(["[]"] * count) + "]")
            if count
            else RelayArguments("k", "n", "1-0", ())
        )
        ticket.item = Operation("bundle" if count else "relay", ticket.entry, arguments, shard=1)
        tickets.append(ticket)
    forwarder = Forwarder(cast("Settler", recorder))
    forwarder.add(tickets)
    await forwarder.drain()
    return recorder.batches


async def test_a_commit_takes_no_more_messages_than_64() -> None:
    assert await batches(30, 30, 4, 1, 63, 0, 0) == [["0", "1", "2"], ["3", "4"], ["5", "6"]]
    assert await batches(*[0] * 65) == [[str(number) for number in range(64)], ["64"]]


async def test_a_bundle_with_more_goes_by_itself_and_so_does_what_goes_alone() -> None:
    assert await batches(0, 70, 0) == [["0"], ["1"], ["2"]]
    assert await batches(1, 1, 1, 1, alone="1") == [["0"], ["1"], ["2", "3"]]
