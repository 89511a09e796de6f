"""Readiness: reads that completed lately, not reads that are under way."""

from __future__ import annotations

import time

from workers.readiness import Readiness


def test_a_worker_that_has_read_nothing_is_not_ready() -> None:
    assert Readiness().state() == (False, "no read from Redis has completed yet")


def test_a_read_makes_it_ready_for_a_while() -> None:
    readiness = Readiness(within_s=6)
    readiness.read_completed()
    assert readiness.state() == (True, "")
    assert readiness.state(time.monotonic() + 5.5) == (True, "")
    ready, reason = readiness.state(time.monotonic() + 7)
    assert not ready
    assert reason.startswith("no read from Redis has completed for 7")


def test_a_loss_counts_at_once_and_until_the_next_read() -> None:
    readiness = Readiness()
    readiness.read_completed()
    readiness.lost("ConnectionError: refused")
    assert readiness.state() == (False, "ConnectionError: refused")
    readiness.read_completed()
    assert readiness.state() == (True, "")
