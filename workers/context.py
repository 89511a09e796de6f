"""The shared state of all shards of one worker."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from invites.store.scripts import Scripts
from workers.consumer.budget import ByteBudget
from workers.telemetry.memory import Memory
from workers.telemetry.metrics import Metrics
from workers.telemetry.outage import Outage
from workers.telemetry.readiness import Readiness

if TYPE_CHECKING:
    from collections.abc import Callable

    from invites.config import Config
    from invites.connection.clients import Clients
    from invites.sippo import SippoServer
    from workers.telemetry.spans import Spans


def _now() -> int:
    return time.time_ns() // 1_000_000


@dataclass(slots=True)
class WorkerContext:
    """One worker, for the parts of its shards.

    `consumer` is its name in the consumer groups, `since` when it was started (ms since 1970). `sippo` is None without
    a configured sippo-server. `stopping` is set when the worker takes nothing new. `spans` is None unless traces are
    exported. `refused` is called with a RefusedError: the calls are spread over another number of shards.
    """

    config: Config
    url: str
    consumer: str
    clients: Clients
    sippo: SippoServer | None
    refused: Callable[[Exception], None]
    metrics: Metrics
    outage: Outage
    spans: Spans | None = None
    budget: ByteBudget = field(default_factory=ByteBudget)
    memory: Memory = field(default_factory=Memory)
    readiness: Readiness = field(default_factory=Readiness)
    scripts: Scripts = field(default_factory=Scripts)
    since: int = field(default_factory=_now)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
