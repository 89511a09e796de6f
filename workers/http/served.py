"""What the HTTP server needs from its worker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from invites.sippo import SippoServer
    from workers.telemetry.metrics import Metrics
    from workers.telemetry.readiness import Readiness


class Served(Protocol):
    """The part of the worker that the server needs."""

    @property
    def consumer(self) -> str: ...  # noqa: D102
    @property
    def metrics(self) -> Metrics: ...  # noqa: D102
    @property
    def readiness(self) -> Readiness: ...  # noqa: D102
    @property
    def moving(self) -> bool: ...  # noqa: D102 - whether a reshard is under way
    @property
    def sippo(self) -> SippoServer | None: ...  # noqa: D102 - None if it is not configured
