"""The common metrics of every process."""

from __future__ import annotations

from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    Info,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)

from invites import __version__
from invites.build import COMMIT


def new_registry(info: str, what: str) -> CollectorRegistry:
    """A registry with the figures of this process, and the metric `info`, which names version and commit of `what`."""
    # The `_created` series would double the scrape.
    disable_created_metrics()  # type: ignore[no-untyped-call] # has no annotations
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    Info(info, what, registry=registry).info({"version": __version__, "commit": COMMIT})
    return registry
