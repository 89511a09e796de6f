"""An outage of Redis is logged once for all loops."""

from __future__ import annotations

import pytest
from redis import exceptions

from workers.telemetry.metrics import Metrics
from workers.telemetry.outage import Outage


def test_an_outage_is_told_once_then_now_and_then(caplog: pytest.LogCaptureFixture) -> None:
    outage, error = Outage(Metrics(), remind_s=1000.0), exceptions.ConnectionError("refused")
    for role in ("reading", "settling", "reading"):
        outage.met(role, error)
    assert [record.message for record in caplog.records] == [
        "Redis cannot be used (reading): ConnectionError: refused; waiting for it."
    ]
    outage.over("reading")
    outage.over("claiming")
    assert len(caplog.records) == 1
    outage.over("settling")
    assert caplog.records[-1].message.startswith("Redis can be used again, after 0.")


def test_an_outage_that_lasts_is_told_again(caplog: pytest.LogCaptureFixture) -> None:
    outage = Outage(Metrics(), remind_s=0.0)
    for _ in range(3):
        outage.met("reading", exceptions.ConnectionError("refused"))
    assert len(caplog.records) == 3
    assert caplog.records[-1].message.startswith("Redis still cannot be used after 0 s (reading)")
