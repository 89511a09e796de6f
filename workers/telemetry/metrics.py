"""The metrics of a worker, for Prometheus."""

from __future__ import annotations

import functools
import itertools
import math
from typing import TYPE_CHECKING, Final

import msgspec
from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.exposition import choose_encoder

from invites.config.sections import Limits
from invites.events.protocol import EVENT_TYPES
from invites.keys import Stream
from invites.lookup.pushes import Verdict
from invites.sippo import PushResult
from invites.store.answers import Status
from invites.values.printable import escape
from workers.telemetry.calls import CallMetrics
from workers.telemetry.distribution import Distribution
from workers.telemetry.registry import new_registry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from invites.queries.gateways import GatewayGroup
    from invites.queries.overview import Backlog

# A commit of a full batch is meant to stay around 10 ms.
_COMMIT_BUCKETS: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1.0, 5.0)
_BATCH_BUCKETS: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)
_LOOK_UP_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_TYPES: Final = frozenset(EVENT_TYPES)
_MOST_GROUPS: Final = 20  # of a shard; a gateway chooses their names
_LONGEST_NAME: Final = 100  # characters of a group's name in a label
_OTHERS: Final = "(others)"
_UNKNOWN: Final = "unknown"  # any other type, so that a publisher cannot create time series
_DEAD: Final = "dead"
_OUTCOMES: Final = tuple(status.value for status in Status)
_PUSH_OUTCOMES: Final = (
    *(result.value for result in PushResult),
    Verdict.UNWANTED.name.lower(),
    Verdict.EXPIRED.name.lower(),
)
_PUSHES: Final = ("invitation", "invitationCancel")
_TRIMMED: Final = (*(stream.value for stream in Stream), "notifications")


class Metrics:
    """All metrics of one worker, in their own registry. Times are in seconds, as is usual in Prometheus.

    A counter exists with all its labels from the start, so that Prometheus sees its first increase.
    """

    def __init__(self) -> None:
        self.registry = new_registry("invites", "The worker.")
        self.calls = CallMetrics(self.registry)
        self._events = self._counter(
            "events",
            "Settled events.",
            {"type": (*EVENT_TYPES, _UNKNOWN), "outcome": (*_OUTCOMES, _DEAD)},
        )
        self._relayed = self._counter(
            "relayed", "Settled entries of the relay streams.", {"outcome": (*_OUTCOMES, _DEAD)}
        )
        self._pushes = self._counter(
            "pushes", "Settled push jobs.", {"type": _PUSHES, "outcome": _PUSH_OUTCOMES}
        )
        self._commit_seconds = Distribution(
            "invites_commit_seconds",
            "Duration of a commit, from the call to its reply.",
            _COMMIT_BUCKETS,
            self.registry,
        ).of()
        self._commit_events = Distribution(
            "invites_commit_events", "Events in one commit.", _BATCH_BUCKETS, self.registry
        ).of()
        self._timers = self._counter("timers_fired", "Timers that were due and applied.")
        self._claimed = self._counter("claimed", "Entries taken over from other workers.")
        self._dead_letters = self._counter("dead_letters", "Entries and timers that became dead letters.")
        self._dead_letters_dropped = self._counter(
            "dead_letters_dropped", "Dead letters dropped because they were too old or took too much memory."
        )
        self._dead_letters_kept = self._gauge("dead_letters_kept", "Dead letters that are there.")
        self._limits = self._counter(
            "limits",
            "Invites and devices that a limit has refused.",
            {"which": [limit.encode_name for limit in msgspec.structs.fields(Limits)]},
        )
        self._ahead = self._counter("entries_ahead", "Events whose entry id is ahead of the server's time.")
        self._redis_errors = self._counter("redis_errors", "Redis errors.", {"role": ()})
        self._reconnects = self._counter("redis_reconnects", "Recoveries from a Redis outage.")
        self._groups = self._counter(
            "groups_recreated",
            "Consumer groups that were missing and were created again.",
            {"group": [stream.group for stream in Stream]},
        )
        self._trimmed = self._counter("trimmed", "Entries trimmed from the streams.", {"stream": _TRIMMED})
        self._dropped = self._counter(
            "notifications_dropped", "Notifications dropped before all groups had acknowledged them."
        )
        self._lags = Gauge(
            "invites_notifications_lag",
            "Notifications that are not delivered to a gateway's group yet.",
            ("shard", "group"),
            registry=self.registry,
        )
        self._lagging: dict[int, set[str]] = {}
        self._lookups = Histogram(
            "invites_look_up_seconds",
            "Duration of a lookup.",
            ("kind", "outcome"),
            buckets=_LOOK_UP_BUCKETS,
            registry=self.registry,
        )
        self._backlogs = Gauge(
            "invites_backlog",
            "Unsettled entries of a stream.",
            ("shard", "stream"),
            registry=self.registry,
        )
        self._pending = self._gauge("pending_invites", "Invites that ring, legs of groups among them.")
        self._oldest = self._gauge(
            "oldest_unsettled_event_age_seconds", "Age of the oldest unsettled event; 0 if there is none."
        )
        self._last_commit = self._gauge("last_commit_timestamp_seconds", "When events were last committed.")
        self._last_commits: dict[int, float] = {}
        self._ready = Gauge(
            "invites_ready", "Whether the worker is ready, as /readyz says.", registry=self.registry
        )
        self._children: dict[tuple[str, str], Counter] = {}

    def event(self, kind: str, outcome: str, count: int = 1) -> None:
        """`count` events of the type `kind` had this outcome."""
        child = self._children.get((kind, outcome))
        if child is None:
            shown = kind if kind in _TYPES else _UNKNOWN
            child = self._events.labels(shown, outcome)
            if shown is kind:  # unknown types are not cached
                self._children[kind, outcome] = child
        child.inc(count)

    def relayed(self, outcome: str, count: int = 1) -> None:
        """`count` entries of a relay stream had this outcome."""
        self._relayed.labels(outcome).inc(count)

    def pushed(self, kind: str, outcome: str) -> None:
        """A push job of the type `kind` had this outcome."""
        self._pushes.labels(kind, outcome).inc()

    def committed(self, events: int, seconds: float) -> None:
        """A commit of `events` events took `seconds`."""
        self._commit_seconds.observe(seconds)
        self._commit_events.observe(events)

    def last_commit(self, shard: int, at: int) -> None:
        """Entries of a shard were committed at `at` (ms since 1970)."""
        if shard not in self._last_commits:  # setting a gauge takes a lock each time
            self._last_commit.labels(shard).set_function(
                functools.partial(self._last_commits.__getitem__, shard)
            )
        self._last_commits[shard] = at / 1000

    def ready_if(self, is_ready: Callable[[], bool]) -> None:
        """Ask `is_ready` at each scrape whether the worker is ready."""
        self._ready.set_function(is_ready)

    def fired(self, count: int) -> None:
        """`count` timers were applied."""
        self._timers.inc(count)

    def claimed(self, count: int) -> None:
        """`count` entries were taken over."""
        self._claimed.inc(count)

    def dead_letters(self, count: int = 1) -> None:
        """`count` entries or timers became dead letters."""
        self._dead_letters.inc(count)

    def dead_letters_dropped(self, count: int) -> None:
        """`count` dead letters were dropped because they were too old or took too much memory."""
        self._dead_letters_dropped.inc(count)

    def dead_letters_kept(self, shard: int, count: float) -> None:
        """Set the number of dead letters of a shard. NaN: it cannot be measured."""
        self._dead_letters_kept.labels(shard).set(count)

    def pending_invites(self, shard: int, count: float) -> None:
        """Set the number of pending invites of a shard. NaN: it cannot be measured."""
        self._pending.labels(shard).set(count)

    def limited(self, which: str) -> None:
        """A limit of the configuration, by its name there, has refused an invite or a device."""
        self._limits.labels(which).inc()

    def entry_ahead(self) -> None:
        """An event's entry id is ahead of the server's time."""
        self._ahead.inc()

    def expect_errors(self, role: str) -> None:
        """There is a loop `role`, which may get errors from Redis."""
        self._redis_errors.labels(role)

    def redis_error(self, role: str) -> None:
        """The loop `role` got an error from Redis."""
        self._redis_errors.labels(role).inc()

    def reconnected(self) -> None:
        """Redis works again."""
        self._reconnects.inc()

    def group_recreated(self, group: str) -> None:
        """A consumer group was missing and has been created again."""
        self._groups.labels(group).inc()

    def trimmed(self, stream: str, count: int) -> None:
        """`count` entries of a stream, by its key, were trimmed."""
        self._trimmed.labels(stream.rpartition(":")[2]).inc(count)

    def backlog(self, shard: int, stream: Stream, behind: Backlog | None) -> None:
        """Set the backlog of one stream of a shard. None: it cannot be measured."""
        self._backlogs.labels(shard, stream.value).set(math.nan if behind is None else behind.entries)
        if stream is Stream.EVENTS:
            self._oldest.labels(shard).set(math.nan if behind is None else behind.oldest_ms / 1000)

    def notifications_dropped(self, count: int) -> None:
        """`count` notifications were dropped before all groups had acknowledged them."""
        self._dropped.inc(count)

    def groups(self, shard: int, found: Iterable[GatewayGroup] | None) -> None:
        """Set the lag of all groups on the notifications of a shard. None: they cannot be measured.

        The first 20 by name have a label of their own. The others share the label "(others)", with the largest lag
        among them, and so does a group with a very long name. Probes have none: each would make a time series.
        """
        if found is None:
            for label in self._lagging.get(shard, ()):
                self._lags.labels(shard, label).set(math.nan)
            return
        lags: dict[str, int] = {}
        for group in found:
            if group.is_probe:
                continue
            own = len(lags) < _MOST_GROUPS and len(group.name) <= _LONGEST_NAME
            label = escape(group.name) if own else _OTHERS
            lags[label] = max(group.lag, lags.get(label, 0))
        for gone in self._lagging.get(shard, set()) - lags.keys():
            self._lags.remove(shard, gone)
        self._lagging[shard] = set(lags)
        for label, lag in lags.items():
            self._lags.labels(shard, label).set(lag)

    def looked_up(self, kind: str, outcome: str, seconds: float) -> None:
        """A lookup had this outcome after `seconds`."""
        self._lookups.labels(kind, outcome).observe(seconds)

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """All metrics in a format that the header `accept` allows, and its content type."""
        encode, content_type = choose_encoder(accept)
        return encode(self.registry), content_type

    def _counter(self, name: str, text: str, labels: Mapping[str, Iterable[str]] | None = None) -> Counter:
        """A counter, with each combination of its labels' values."""
        counter = Counter(f"invites_{name}", text, labels or (), registry=self.registry)
        if labels:
            for values in itertools.product(*labels.values()):
                counter.labels(*values)
        return counter

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(f"invites_{name}", text, ("shard",), registry=self.registry)
