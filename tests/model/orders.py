"""Plays a set of events in any publish order and any settle order, then all timers, and compares with the model."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import is_dataclass
from itertools import groupby, islice, permutations, product
from math import factorial
from typing import Any

from redis.asyncio import Redis

from invites.events.operation import Operation
from invites.store.scripts import Scripts

from .histories import History, Publish, Pushed
from .play import Play
from .sets import OrderedSet
from .state import Notification, Payload

Order = tuple[int, ...]
LOOKED_UP = frozenset({"invite", "inviteRequest"})
"""An event that may need a lookup is settled alone: later ones must wait for it."""


def all_orders(events: Sequence[Publish | Pushed]) -> Iterator[tuple[Order, Order]]:
    """Each publish order with each settle order. Both are indexes into the events."""
    published = [index for index, event in enumerate(events) if isinstance(event, Publish)]
    return product(permutations(published), permutations(range(len(events))))


def count_orders(events: Sequence[Publish | Pushed]) -> int:
    """The number of pairs."""
    return factorial(len(events)) * factorial(sum(isinstance(event, Publish) for event in events))


class PlayOrders(Play):
    """One set. `ends`: hashes of the states in which all was settled; timers have fired from each."""

    def __init__(self, client: Redis, scripts: Scripts, ordered: OrderedSet) -> None:
        super().__init__(client, scripts, History(ordered.settings, ordered.given))
        self.ordered = ordered
        self.ends: set[str] = set()
        self.played = 0
        self._expected: dict[str, list[Notification]] = {}
        self._is_waiting = False
        settings = ordered.settings
        answers = any("requestId" in each.payload for each in ordered.events if isinstance(each, Publish))
        self._asks = bool(settings.look_up) or settings.parallel_sip or answers
        self._memory = b""
        self._server: list[tuple[Any, ...]] = []

    async def play_all(self, first: int = 0, step: int = 1) -> None:
        """Play every `step`-th pair of orders. Raises AssertionError with the orders that fail."""
        await self._begin()
        for published, settled in islice(all_orders(self.ordered.events), first, None, step):
            try:
                await self._play(published, settled)
            except AssertionError as error:
                names = "\n  ".join(f"{index} {event}" for index, event in enumerate(self.ordered.events))
                error.add_note(
                    f"  {names}\npublished in the order {published}, settled in the order {settled}"
                )
                raise
            self.played += 1

    async def _begin(self) -> None:
        await self.driver.start()
        for step in self.ordered.given:
            await self.step(step)
        del self.model.ask  # leads to the driver
        self._memory = pickle.dumps((self.model, self.invariants, self.events, self.last_ms, self.driver.now))
        names = await self.driver.client.keys("*")
        self._server = [("FLUSHDB",)]
        for name in names:
            expires_at = max(0, await self.driver.client.pexpiretime(name))
            self._server.append(("RESTORE", name, expires_at, await self.driver.client.dump(name), "ABSTTL"))
        self._read_up_to = self.driver.read_up_to

    def _begin_again(self) -> None:
        memory = pickle.loads(self._memory)  # noqa: S301 - it is its own
        self.model, self.invariants, self.events, self.last_ms, self.driver.now = memory
        self.model.ask = self.ask
        self.held, self.jobs, self.settled = [], [], []
        self._expected, self._is_waiting = {}, True
        self.driver.read_up_to = self._read_up_to

    async def _play(self, published: Order, settled: Order) -> None:
        self._begin_again()
        operations = await self._publish_all(published)
        for looks_up, indexes in groupby(settled, self._is_alone):
            if looks_up:
                for index in indexes:
                    await self._settle_one(index, operations)
            else:
                await self._settle([operations[index] for index in indexes])
        await self._compare_all_told()
        await self.compare_state()
        end = self._state()
        if end not in self.ends:
            self.ends.add(end)
            await self.finish()

    def _is_alone(self, index: int) -> bool:
        event = self.ordered.events[index]
        return isinstance(event, Pushed) or (self._asks and event.kind in LOOKED_UP)

    async def _settle_one(self, index: int, operations: dict[int, Operation]) -> None:
        event = self.ordered.events[index]
        if isinstance(event, Pushed):
            await self._compare_all_told()
            await self.step(event)
        else:
            await self._settle([operations[index]])

    async def _settle(self, batch: list[Operation]) -> None:
        await self.settle(batch)
        done = [operation.entry for operation in self.settled[-len(batch) :]]
        assert done == [operation.entry for operation in batch], "something has waited for a lookup"

    async def compare_told(self, expected: dict[str, list[Notification]]) -> None:
        """Wait until all is settled: reading the notifications after each commit takes half of the time."""
        if self._is_waiting:
            self._expected |= expected
        else:
            await super().compare_told(expected)

    async def _compare_all_told(self) -> None:
        expected, self._expected, self._is_waiting = self._expected, {}, False
        await super().compare_told(expected)

    async def _publish_all(self, order: Iterable[int]) -> dict[int, Operation]:
        """Publish a ms apart; return the operations by the indexes of their events."""
        entries: list[tuple[str, Payload, str]] = []
        indexes = tuple(order)
        for index in indexes:
            event = self.ordered.events[index]
            assert isinstance(event, Publish)
            self.driver.now += 1
            self.last_ms = self.driver.now
            entry = f"{self.last_ms}-{len(self.events) + 1}"
            self.events[entry] = event.kind, event.payload
            entries.append((event.kind, event.payload, entry))
        operations = await self.driver.publish_all(entries, self._server)
        self.held += operations
        return dict(zip(indexes, operations, strict=True))

    def _state(self) -> str:
        """Everything that the future depends on, on both sides: equal states have already been compared."""
        model = {**vars(self.model), "presence": vars(self.model.presence), "out": None, "found": None}
        watched = {**vars(self.invariants), "ids": None}
        state = str(_sorted((model, watched, self.jobs)))
        return hashlib.sha1(state.encode(), usedforsecurity=False).hexdigest()


def _sorted(value: object) -> object:
    """The same for the same content: in dictionaries and sets no order counts."""
    if is_dataclass(value):
        return type(value).__name__, _sorted(vars(value))
    if isinstance(value, dict):
        return sorted((repr(key), _sorted(each)) for key, each in value.items())
    if isinstance(value, (set, frozenset)):
        return sorted(map(repr, value))
    if isinstance(value, (list, tuple)):
        return [_sorted(each) for each in value]
    return repr(value)
