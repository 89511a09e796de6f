"""The metrics of calls to sippo-server, for Prometheus."""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Gauge, Histogram

from invites.sippo import ApiCall

_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_WHAT: Final = ("call", "outcome")


class SippoMetrics:
    """The Watch of a `SippoServer`. A call consists of one or more requests, logins and retries included."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = _seconds("request", "Duration of an HTTP request to sippo-server.", registry)
        self._calls = _seconds(
            "call", "Duration of a call to the sippo-server API, with all its requests.", registry
        )
        self._broken = Gauge(
            "invites_sippo_breaker_open",
            "1 while calls fail at once, because sippo-server has not answered recently.",
            ("call",),
            registry=registry,
        )
        for call in ApiCall:
            if call is not ApiCall.LOGIN:
                self.broken(call, broken=False)

    def requested(self, call: str, outcome: str, seconds: float) -> None:
        """One HTTP request has ended."""
        self._requests.labels(call, outcome).observe(seconds)

    def called(self, call: str, outcome: str, seconds: float) -> None:
        """A call has ended, or failed at once."""
        self._calls.labels(call, outcome).observe(seconds)

    def broken(self, call: str, broken: bool) -> None:  # noqa: FBT001 - as the Watch has it
        """The circuit breaker of this call has opened or closed."""
        self._broken.labels(call).set(broken)


def _seconds(what: str, text: str, registry: CollectorRegistry) -> Histogram:
    return Histogram(f"invites_sippo_{what}_seconds", text, _WHAT, buckets=_BUCKETS, registry=registry)
