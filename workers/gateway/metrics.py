"""The metrics of a gateway, for Prometheus."""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

from invites.notifications import PAYLOADS
from workers.gateway.messages import EVENTS
from workers.telemetry.registry import new_registry

REFUSALS: Final = ("connections", "login", "message", "origin", "user")
"""The reasons for a refusal."""

_UNKNOWN: Final = "unknown"  # a type that only later releases have
_DELAYS: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)


class GatewayMetrics:
    """All metrics of one gateway, in their own registry. A counter exists with all its labels from the start."""

    def __init__(self) -> None:
        self.registry = new_registry("invites_gateway", "The gateway.")
        self._connections = Gauge(
            "invites_gateway_connections", "Devices that are connected.", registry=self.registry
        )
        self._received = Counter(
            "invites_gateway_messages", "Messages of devices, by type.", ("type",), registry=self.registry
        )
        self._sent = Counter(
            "invites_gateway_frames",
            "Notifications sent to devices, by type.",
            ("type",),
            registry=self.registry,
        )
        self._refused = Counter(
            "invites_gateway_refused", "What was refused to devices.", ("what",), registry=self.registry
        )
        for type_ in EVENTS:
            self._received.labels(type_)
        for type_ in (*PAYLOADS, _UNKNOWN):
            self._sent.labels(type_)
        for what in REFUSALS:
            self._refused.labels(what)
        self._delay = Histogram(
            "invites_gateway_delay_seconds",
            "From a notification's entry to its frame, by the server's clock.",
            buckets=_DELAYS,
            registry=self.registry,
        )

    def connected(self, count: int) -> None:
        """Set the number of connected devices."""
        self._connections.set(count)

    def received(self, kind: str) -> None:
        """A device has sent an event. Its type is one of the contract's."""
        self._received.labels(kind).inc()

    def sent(self, kind: str, devices: int, delay_s: float) -> None:
        """A notification went to this many devices."""
        self._sent.labels(kind if kind in PAYLOADS else _UNKNOWN).inc(devices)
        self._delay.observe(max(0.0, delay_s))

    def refused(self, what: str) -> None:
        """Something was refused: one of `REFUSALS`."""
        self._refused.labels(what).inc()
