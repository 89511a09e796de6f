"""Readiness: reads that completed lately, not reads that are under way."""

from __future__ import annotations

import time

from workers.telemetry.readiness import Readiness


def test_a_worker_that_has_read_nothing_is_not_ready() -> None:
    assert Readiness().state() == (False, "no read from Redis has completed yet")


def test_a_read_makes_it_ready_for_a_while() -> None:
    readiness = Readiness(within_s=6)
    readiness.read_completed("events")
    assert readiness.state() == (True, "")
    assert readiness.state(time.monotonic() + 5.5) == (True, "")
    ready, reason = readiness.state(time.monotonic() + 7)
    assert not ready
    assert reason.startswith("no read from Redis has completed for 7")


def test_a_loss_counts_at_once_and_until_the_next_read() -> None:
    readiness = Readiness()
    readiness.read_completed("events")
    readiness.lost("events", "ConnectionError: refused")
    assert readiness.state() == (False, "ConnectionError: refused")
    readiness.read_completed("events")
    assert readiness.state() == (True, "")


def test_every_stream_has_to_be_read() -> None:
    readiness = Readiness(within_s=6)
    readiness.expect("events")
    readiness.expect("relay")
    readiness.read_completed("events")
    assert readiness.state() == (False, "no read from Redis has completed yet")
    readiness.read_completed("relay")
    assert readiness.state() == (True, "")
    readiness.lost("relay", "ConnectionError: refused")
    readiness.read_completed("events")
    assert readiness.state() == (False, "ConnectionError: refused")


def test_no_read_outweighs_what_troubles_the_whole_worker() -> None:
    readiness = Readiness()
    readiness.trouble = "the worker is stopping"
    readiness.read_completed("events")
    assert readiness.state() == (False, "the worker is stopping")
