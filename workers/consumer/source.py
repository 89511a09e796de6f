"""One stream of a shard as this worker consumes it, and what it has read and not settled."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from redis.asyncio import Redis

    from invites.events.entry import Entry
    from invites.keys import Stream
    from workers.consumer.group import ConsumerGroup
    from workers.consumer.shard import Shard


class Decoded(Protocol):
    """What an entry asks for; `entry` is its id."""

    @property
    def entry(self) -> str: ...  # noqa: D102


Item = TypeVar("Item", bound=Decoded)

# One batch waits while another is committed. That keeps the server busy, and little has to be handed back.
_WAITING_BATCHES = 1


class InFlight:
    """The entries that this worker has read and not settled: id -> since when (s, monotonic).

    The lease renews them while they take long and hands them back when the worker stops. A reader that recovers skips
    them.
    """

    def __init__(self) -> None:
        self._since: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._since)

    def __contains__(self, entry: str) -> bool:
        return entry in self._since

    def begin(self, entries: Iterable[str], now: float) -> None:
        """Work on these entries begins `now`."""
        self._since.update(dict.fromkeys(entries, now))

    def end(self, entry: str) -> None:
        """The entry is settled, or left to the reclaimer."""
        self._since.pop(entry, None)

    def renew(self, before: float, now: float) -> list[str]:
        """The entries begun or renewed `before`. They count as renewed `now`."""
        aged = [entry for entry, since in self._since.items() if since < before]
        self.begin(aged, now)
        return aged


@dataclass(slots=True)
class Batch(Generic[Item]):
    """What entries ask for, to be committed together, or each `alone` so that it cannot take others with it.

    `catches_up` says that nothing is left behind them of what was published before the worker started.
    """

    items: list[Item]
    alone: bool = False
    catches_up: bool = False


@dataclass(slots=True)
class Source(Generic[Item]):
    """One stream of a shard, consumed in its consumer group.

    `reads` is a client for blocking reads alone. `decode` never raises for what an entry holds: such an entry becomes
    a dead letter. Batches wait in the `inbox` for the role that settles them; None there says that no more will come.
    While `most` entries are in flight no more are taken in.
    """

    shard: Shard
    stream: Stream
    reads: Redis
    group: ConsumerGroup
    decode: Callable[[Entry], Item]
    most: int = sys.maxsize
    in_flight: InFlight = field(default_factory=InFlight)
    inbox: asyncio.Queue[Batch[Item] | None] = field(default_factory=lambda: asyncio.Queue(_WAITING_BATCHES))

    @property
    def name(self) -> str:
        """Which of the shard's streams it is."""
        return self.stream.value

    @property
    def key(self) -> str:
        """The key of the stream."""
        return self.stream.key(self.shard.keys)

    @property
    def room(self) -> int:
        """How many more entries may be taken in."""
        return max(0, self.most - len(self.in_flight))
