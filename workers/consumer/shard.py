"""What the loops of one shard share, and those of one of its streams."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from redis.asyncio import Redis

    from invites.events.operations import Entry
    from invites.keys import Keys
    from invites.lookup.other_shards import Elsewhere
    from invites.store.commit import Committer, Source
    from invites.store.layout import LayoutError
    from workers.consumer.group import ConsumerGroup
    from workers.telemetry.outage import Outage


class Decoded(Protocol):
    """What an entry asks for; `entry` is its id."""

    entry: str


Item = TypeVar("Item", bound=Decoded)

# One batch waits while another is being committed: enough to keep the server busy, and little to hand back.
_WAITING_BATCHES = 1


class Progress:
    """The entries that this worker has read and not yet settled: id -> since when (s, monotonic).

    They are renewed while they take long, left out when the pending list is read again, and handed back when the
    worker stops.
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
        """The entry is settled, or left for the claim."""
        self._since.pop(entry, None)

    def renew(self, before: float, now: float) -> list[str]:
        """The entries begun or renewed `before`, which count as renewed `now`."""
        aged = [entry for entry, since in self._since.items() if since < before]
        self.begin(aged, now)
        return aged


@dataclass(slots=True)
class Work(Generic[Item]):
    """What entries ask for: in one commit, or each `alone` so that it cannot take others with it.

    `catches_up` says that behind them nothing is left of what was published before the worker started.
    """

    items: list[Item]
    alone: bool = False
    catches_up: bool = False


@dataclass(slots=True)
class Shard:
    """One shard as a worker sees it; `consumer` is the worker's name in the consumer groups.

    `stopping` is set when the worker shall take nothing new, `caught_up` once all that was published before it
    started is settled. `misplaced` is told that the calls are in another number of shards now.
    """

    keys: Keys
    consumer: str
    commands: Redis
    committer: Committer
    elsewhere: Elsewhere
    outage: Outage
    claim_after_ms: int
    max_deliveries: int
    stopping: asyncio.Event
    misplaced: Callable[[LayoutError], None]
    caught_up: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(slots=True)
class Feed(Generic[Item]):
    """One stream of a shard as a worker reads it in a consumer group, with what it has read and not settled.

    `reads` is a client for its blocking reads alone. `decode` never raises for what an entry holds: that is
    buried. What was read waits in the `inbox` for who settles it; None there says that nothing more will come.
    While `most` entries are in progress no more are taken in.
    """

    shard: Shard
    source: Source
    reads: Redis
    group: ConsumerGroup
    decode: Callable[[Entry], Item]
    most: int = sys.maxsize
    progress: Progress = field(default_factory=Progress)
    inbox: asyncio.Queue[Work[Item] | None] = field(default_factory=lambda: asyncio.Queue(_WAITING_BATCHES))

    @property
    def name(self) -> str:
        """Which of the shard's streams it is."""
        return self.source.name.lower()

    @property
    def room(self) -> int:
        """How many more entries may be taken in."""
        return max(0, self.most - len(self.progress))

    @property
    def stream(self) -> str:
        """The key of the stream."""
        return self.source.stream(self.shard.keys)
