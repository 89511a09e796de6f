"""An entry in hand, and its one way out."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping

    from workers.consumer.budget import ByteBudget

_log = logging.getLogger(__name__)


class InFlight:
    """The entries that this worker has read and not settled: id -> since when (s, monotonic), and their bytes.

    The lease renews them if they take long and hands them back when the worker stops. A reader that recovers skips
    them. Their bytes count against the `budget`, as many as were read.
    """

    def __init__(self, budget: ByteBudget) -> None:
        self._since: dict[str, float] = {}
        self._sizes: dict[str, int] = {}
        self._budget = budget
        self._some = asyncio.Event()

    def __len__(self) -> int:
        return len(self._since)

    def __contains__(self, entry: str) -> bool:
        return entry in self._since

    def begin(self, sizes: Mapping[str, int], now: float) -> None:
        """Work on these entries begins `now`: id -> bytes."""
        again = sum(self._sizes[entry] for entry in self._sizes.keys() & sizes.keys())
        self._budget.take(sum(sizes.values()) - again)
        self._sizes.update(sizes)
        self._since.update(dict.fromkeys(sizes, now))
        if sizes:
            self._some.set()

    async def wait_for_one(self) -> None:
        """Wait until there is an entry."""
        await self._some.wait()

    def end(self, entry: str) -> None:
        """Work on the entry has ended. Only its ticket says so."""
        self._since.pop(entry, None)
        self._budget.give_back(self._sizes.pop(entry, 0))
        if not self._since:
            self._some.clear()

    def renew(self, before: float, now: float) -> list[str]:
        """The entries begun or renewed `before`. They count as renewed `now`."""
        aged = [entry for entry, since in self._since.items() if since < before]
        self._since.update(dict.fromkeys(aged, now))
        return aged


class Decoded(Protocol):
    """What an entry asks for; `entry` is its id, `trace` its traceparent, "" for none."""

    @property
    def entry(self) -> str: ...  # noqa: D102

    @property
    def trace(self) -> str: ...  # noqa: D102


Item = TypeVar("Item", bound=Decoded)


class Ticket(Generic[Item]):
    """One entry in flight, and the `item` that it asks for. `alone`: it must not take others with it.

    It ends with `done` or `leave`. Until then it is kept from other workers, even while it is set aside.
    """

    __slots__ = ("_in_flight", "alone", "entry", "item")

    item: Item

    def __init__(self, entry: str, in_flight: InFlight, *, alone: bool) -> None:
        self.entry = entry
        self.alone = alone
        self._in_flight = in_flight

    def done(self) -> None:
        """The entry is settled, by this worker or another one."""
        self._in_flight.end(self.entry)

    def leave(self, why: str = "", *values: object, error: BaseException | None = None) -> None:
        """Leave the entry pending, and log `why` unless the caller has. A reclaimer takes it up again."""
        if why:
            _log.error(why, *values, exc_info=error)
        self._in_flight.end(self.entry)
