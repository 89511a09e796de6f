"""Reports the results of commits to the log and the metrics."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any, Final

from invites.events.arguments import DeadArguments, RelayedEventArguments
from invites.events.entry import order
from invites.events.protocol import EVENT_STRUCTS
from invites.keys import Stream
from invites.logs import messages
from invites.logs.setup import is_json
from invites.store.answers import Status
from invites.values.traceparent import trace_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from invites.events.operation import Operation
    from invites.store.answers import CommitResult, Fact, FireResult
    from workers.telemetry.metrics import Metrics


_DEAD: Final = "dead"
_DONE: Final = Status.DONE.value  # looked up once: an enum's values are slow
_TYPES: Final = {struct: kind for kind, struct in EVENT_STRUCTS.items()}
_OF_LIMITS: Final = frozenset({"invite_refused", "device_dropped"})
"""Facts whose first value is the name of a limit."""


def _type(operation: Operation) -> str:
    """The event's type in the contract; for a dead letter the type that the publisher gave."""
    if operation.event is None:
        arguments = operation.arguments
        return arguments.type if isinstance(arguments, DeadArguments) else operation.rule
    return _TYPES[type(operation.event)]


def _published(operation: Operation) -> int | None:
    """When an event was published that is applied here (ms since 1970); None for one that is forwarded to its shard."""
    if operation.event is None:
        return None
    arguments = operation.arguments
    entry = arguments.entry if isinstance(arguments, RelayedEventArguments) else operation.entry
    return order(entry)[0]


class Reports:
    """Counts and logs results."""

    def __init__(self, metrics: Metrics) -> None:
        self.metrics = metrics
        self._verbose = messages.verbosity() > 0
        self._json = is_json()

    def settled(
        self,
        stream: Stream,
        operations: Sequence[Operation],
        result: CommitResult,
        seconds: float = 0.0,
    ) -> None:
        """Report a commit that took `seconds`. Operations that must be settled again are only counted."""
        counts: defaultdict[tuple[str, str], int] = defaultdict(int)
        for operation, outcome in zip(operations, result.outcomes, strict=True):
            if outcome.status is not Status.DONE:
                counts[_type(operation), outcome.status.value] += 1
                continue
            counts[_type(operation), _DEAD if operation.rule == _DEAD else _DONE] += 1
            if self._verbose or outcome.facts:
                facts = [*self._received(operation), *outcome.facts]
                if facts:
                    self._tell(facts, _about(operation, seconds) if self._json else None)
            published = _published(operation)
            if published is not None:
                self.metrics.calls.event_delayed(max(0, result.now - published) / 1000)
        for (kind, outcome_name), count in counts.items():
            if stream is Stream.EVENTS:
                self.metrics.event(kind, outcome_name, count)
            elif stream is Stream.RELAY:
                self.metrics.relayed(outcome_name, count)
            if outcome_name == _DEAD:
                self.metrics.dead_letters(count)
        self.metrics.calls.measured(result.measures)

    def fired(self, fired: FireResult) -> None:
        """Report fired timers."""
        if fired.count:
            self.metrics.calls.measured(fired.measures)
            facts = Counter(fact[0] for fact in fired.facts)
            self.metrics.fired(fired.count - facts["timer_failed"] - facts["timer_failed_again"])
            self.metrics.dead_letters(facts["timer_failed"])
            self._tell(fired.facts)

    def _received(self, operation: Operation) -> Sequence[Fact]:
        if self._verbose and operation.event is not None:
            received = messages.received(operation.event)
            if received is not None:
                return (received,)
        return ()

    def _tell(self, facts: Sequence[Fact], about: Mapping[str, Any] | None = None) -> None:
        for name, *values in facts:
            if name in _OF_LIMITS:
                self.metrics.limited(values[0])
            elif name == "entry_ahead":
                self.metrics.entry_ahead()
        messages.write(facts, about)


def _about(operation: Operation, seconds: float) -> dict[str, Any]:
    """The fields of the operation in JSON lines. `duration` is that of its commit, in ms."""
    about: dict[str, Any] = {"entry": operation.entry, "duration": round(seconds * 1000, 1)}
    if operation.ref:
        about["ref"] = operation.ref
    if operation.trace:
        about["trace"] = trace_of(operation.trace)
    return about
