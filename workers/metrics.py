"""What a worker counts and measures, for Prometheus."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    Info,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.exposition import choose_encoder

from invites import __version__
from invites.build import COMMIT
from invites.commit import Source
from invites.protocol import EVENT_TYPES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from invites.overview import Backlog

# A commit of a full batch is meant to stay around 10 ms.
_COMMIT_BUCKETS: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1.0, 5.0)
_BATCH_BUCKETS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_LOOK_UP_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_TYPES: Final = frozenset(EVENT_TYPES)
_UNKNOWN: Final = "unknown"  # of any other type: a publisher must not be able to make new time series


class Metrics:
    """All metrics of one worker, in a registry of their own. Times are in seconds, as Prometheus has them."""

    def __init__(self) -> None:
        # When a series began helps nobody, and doubles what is scraped.
        disable_created_metrics()  # type: ignore[no-untyped-call] # has no annotations
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        info = {"version": __version__, "commit": COMMIT}
        Info("invites", "The worker.", registry=self.registry).info(info)
        self._events = self._counter("events", "Events that were settled.", ("type", "outcome"))
        self._relayed = self._counter(
            "relayed", "Entries of the relay streams that were settled.", ("outcome",)
        )
        self._pushes = self._counter("pushes", "Push jobs that came to an end.", ("type", "outcome"))
        self._commit_seconds = Histogram(
            "invites_commit_seconds",
            "How long a commit took, from the call to its answer.",
            buckets=_COMMIT_BUCKETS,
            registry=self.registry,
        )
        self._commit_events = Histogram(
            "invites_commit_events",
            "How many events went into one commit.",
            buckets=_BATCH_BUCKETS,
            registry=self.registry,
        )
        self._timers = self._counter("timers_fired", "Timers that fell due and were applied.")
        self._claimed = self._counter("claimed", "Entries taken over from a worker that left them.")
        self._dead_letters = self._counter("dead_letters", "Entries that could not be processed.")
        self._redis_errors = self._counter(
            "redis_errors", "Commands that Redis did not carry out.", ("role",)
        )
        self._reconnects = self._counter("redis_reconnects", "How often Redis could be used again.")
        self._groups = self._counter(
            "groups_recreated", "How often a consumer group was gone and was made again.", ("group",)
        )
        self._trimmed = self._counter("trimmed", "Entries trimmed from the streams.", ("stream",))
        self._look_ups = Histogram(
            "invites_look_up_seconds",
            "How long a look-up took.",
            ("kind", "outcome"),
            buckets=_LOOK_UP_BUCKETS,
            registry=self.registry,
        )
        self._backlogs = {
            Source.EVENTS: self._gauge("backlog", "Events that are not settled yet."),
            Source.PUSH: self._gauge("push_backlog", "Push jobs that are not settled yet."),
            Source.RELAY: self._gauge(
                "relay_backlog", "Entries of the relay stream that are not settled yet."
            ),
        }
        self._oldest = self._gauge(
            "oldest_unsettled_event_age_seconds", "The age of the oldest unsettled event; 0 if there is none."
        )
        self._children: dict[tuple[str, str], Counter] = {}

    def event(self, kind: str, outcome: str, count: int = 1) -> None:
        """`count` events of the type `kind` came to this outcome."""
        child = self._children.get((kind, outcome))
        if child is None:
            shown = kind if kind in _TYPES else _UNKNOWN
            child = self._events.labels(shown, outcome)
            if shown is kind:  # what publishers make up is not kept here either
                self._children[kind, outcome] = child
        child.inc(count)

    def relayed(self, outcome: str, count: int = 1) -> None:
        """`count` entries of a relay stream came to this outcome."""
        self._relayed.labels(outcome).inc(count)

    def pushed(self, kind: str, outcome: str) -> None:
        """A push job of the type `kind` came to this outcome."""
        self._pushes.labels(kind, outcome).inc()

    def committed(self, events: int, seconds: float) -> None:
        """A commit of `events` events was answered after `seconds`."""
        self._commit_seconds.observe(seconds)
        self._commit_events.observe(events)

    def fired(self, count: int) -> None:
        """`count` timers were taken and applied."""
        self._timers.inc(count)

    def claimed(self, count: int) -> None:
        """`count` entries were taken over."""
        self._claimed.inc(count)

    def dead_letters(self, count: int = 1) -> None:
        """`count` entries or timers went to the dead letters."""
        self._dead_letters.inc(count)

    def redis_error(self, role: str) -> None:
        """The loop `role` met an error of Redis."""
        self._redis_errors.labels(role).inc()

    def reconnected(self) -> None:
        """Redis can be used again."""
        self._reconnects.inc()

    def group_recreated(self, group: str) -> None:
        """A consumer group was gone and has been made again."""
        self._groups.labels(group).inc()

    def trimmed(self, entries: Mapping[str, int]) -> None:
        """So many entries were trimmed, by stream."""
        for stream, count in entries.items():
            self._trimmed.labels(stream).inc(count)

    def backlog(self, shard: int, source: Source, behind: Backlog) -> None:
        """How far behind a shard is with one of its streams."""
        self._backlogs[source].labels(shard).set(behind.entries)
        if source is Source.EVENTS:
            self._oldest.labels(shard).set(behind.oldest_ms / 1000)

    def looked_up(self, kind: str, outcome: str, seconds: float) -> None:
        """A look-up came to an outcome after `seconds`."""
        self._look_ups.labels(kind, outcome).observe(seconds)

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """All metrics in the format that the header `accept` asks for, and that format's content type."""
        encode, content_type = choose_encoder(accept)
        return encode(self.registry), content_type

    def _counter(self, name: str, text: str, labels: Iterable[str] = ()) -> Counter:
        return Counter(f"invites_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(f"invites_{name}", text, ("shard",), registry=self.registry)
