"""The metrics of calls, for Prometheus: how they end, and the times that matter to people."""

from __future__ import annotations

import functools
from collections import defaultdict
from typing import TYPE_CHECKING, Final

from prometheus_client import Counter

from invites.store.measures import ENDS, KINDS, REACHES, Ended
from invites.store.minutes import ANSWER_S, Minutes
from workers.telemetry.distribution import Distribution

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prometheus_client import CollectorRegistry

    from invites.store.measures import Measure

# Each has a bucket that ends at one second, which the objectives need (see deploy/prometheus).
_RING: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0)
_STOP: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 60.0)
_WAKE: Final = (0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 60.0)
_DELAY: Final = (0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 60.0)


class CallMetrics:
    """The measures of commits. All times are by the clock of the shard's server."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.minutes = Minutes()
        """The same for people, minute by minute."""

        def seconds(name: str, text: str, bounds: tuple[float, ...], label: str = "") -> Distribution:
            return Distribution(f"invites_{name}_seconds", text, bounds, registry, label)

        ended = Counter(
            "invites_calls_ended",
            "Calls that have ended, legs of groups not among them.",
            ("kind", "state", "reason"),
            registry=registry,
        )
        self._ended_as = functools.cache(ended.labels)  # `labels` takes a lock each time
        for kind in KINDS:
            for end in ENDS:
                self._ended_as(kind, *end)
        ring = seconds("ring", "From an invite to the first device that rings.", _RING, "reach")
        self._took = {
            "answered": seconds("answer", "From an invite to its accept.", ANSWER_S).of(),
            "stopped": seconds("stop", "From an accept to the cancels of the other devices.", _STOP).of(),
            "woke": seconds("wake", "From a push that is taken to the device's registration.", _WAKE).of(),
        }
        self._rang = {reach: ring.of(reach) for reach in REACHES}
        self._delay = seconds("event_delay", "From an event's entry to its commit.", _DELAY).of()

    def event_delayed(self, seconds: float) -> None:
        """An event was committed this long after it was published."""
        self._delay.observe(seconds)

    def measured(self, measures: Sequence[Measure]) -> None:
        """Count the measures of a commit, or of fired timers."""
        self.minutes.count(measures)
        ends: defaultdict[tuple[str, str, str], int] = defaultdict(int)
        for measure in measures:
            if isinstance(measure, Ended):
                ends[measure.kind, measure.state, measure.reason] += 1
            elif measure.what == "rang":
                self._rang[measure.reach].observe(measure.seconds)
            else:
                self._took[measure.what].observe(measure.seconds)
        for end, count in ends.items():
            self._ended_as(*end).inc(count)
