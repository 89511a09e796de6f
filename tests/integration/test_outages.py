"""Readiness and gauges while the server is unreachable, or refuses only commits."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

import pytest

from tests.support.forgetting import refused_functions
from tests.support.waiting import wait_until
from tests.support.worker import KEYS, Streams, worker

if TYPE_CHECKING:
    from tests.support.proxy import Proxy
    from workers.service import Service

_AGE = "oldest_unsettled_event_age_seconds"
_GAUGES: tuple[tuple[str, dict[str, str]], ...] = (
    ("backlog", {"stream": "events"}),
    ("backlog", {"stream": "push"}),
    ("backlog", {"stream": "relay"}),
    ("notifications_lag", {"group": "gateway"}),
    ("dead_letters_kept", {}),
    ("pending_invites", {}),
    (_AGE, {}),
)


def _gauge(service: Service, name: str, **labels: str) -> float | None:
    """A gauge of shard 0; None before it was measured."""
    return service.metrics.registry.get_sample_value(f"invites_{name}", {"shard": "0", **labels})


def _trouble(service: Service) -> str:
    """Why the worker is not ready if everything stays as it is for 7 s."""
    return service.readiness.state(time.monotonic() + 7)[1]


@pytest.mark.parametrize("error", ["MISCONF refused", "ERR refused"])
async def test_a_worker_that_cannot_commit_is_not_ready_and_the_age_grows(
    streams: Streams, valkey_url: str, error: str
) -> None:
    async with worker(valkey_url) as service:
        await streams.ask(0, 1)
        await streams.told(1)
        async with refused_functions(streams.client, error):
            (entry,) = await streams.ask(1, 1)
            said = f"the entry {entry} of {KEYS.events} could not be committed for "
            await wait_until(lambda: _trouble(service).startswith(said), "readiness names the entry")
            assert _trouble(service).endswith("refused")
            await wait_until(lambda: (_gauge(service, _AGE) or 0.0) > 0.5, "the age of the event grows")
        await streams.assert_answered(2)
        await wait_until(lambda: said not in _trouble(service), "commits work again")


async def test_what_another_worker_has_settled_keeps_nobody_from_being_ready(
    streams: Streams, valkey_url: str
) -> None:
    async with worker(valkey_url, claim_after=600_000) as service:
        await streams.ask(0, 1)
        await streams.told(1)
        async with refused_functions(streams.client, "ERR refused"):
            (entry,) = await streams.ask(1, 1)
            await wait_until(lambda: entry in _trouble(service), "readiness names the entry")
        await streams.client.xack(KEYS.events, "workers", entry)
        await wait_until(lambda: entry not in _trouble(service), "the entry is forgotten")


async def test_gauges_that_cannot_be_measured_are_no_numbers(streams: Streams, proxy: Proxy) -> None:
    await streams.client.xgroup_create(KEYS.notifications, "gateway", "0", mkstream=True)
    async with worker(proxy.url) as service:
        read = service.metrics.registry.get_sample_value

        def measured() -> list[float]:
            found = [_gauge(service, name, **labels) for name, labels in _GAUGES]
            return [value for value in found if value is not None and not math.isnan(value)]

        assert _gauge(service, "last_commit_timestamp_seconds") is None
        began = time.time()
        await streams.ask(0, 1)
        await streams.told(1)
        await wait_until(lambda: len(measured()) == len(_GAUGES), "all is measured")
        await wait_until(lambda: read("invites_ready") == 1, "the worker is ready")
        assert began - 60 < (_gauge(service, "last_commit_timestamp_seconds") or 0.0) < began + 60
        await proxy.down()
        await wait_until(lambda: not measured(), "nothing is measured")
        assert read("invites_ready") == 0
        await proxy.up()
        await wait_until(lambda: len(measured()) == len(_GAUGES), "all is measured again")
        await wait_until(lambda: read("invites_ready") == 1, "the worker is ready again")
