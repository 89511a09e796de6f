"""Readiness: reads that completed lately, not reads that are under way, and commits that get an answer."""

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


def test_commits_that_fail_for_long_make_it_unready_until_one_is_answered() -> None:
    readiness = Readiness(within_s=6)
    commits, others = readiness.commits_of("events"), readiness.commits_of("relay")
    readiness.read_completed("events")
    commits.failed("1-0", "TimeoutError")
    commits.failed("2-0", "ConnectionError: refused")
    others.failed("3-0", "later")
    began = commits.failing_since
    assert began is not None
    assert readiness.state(began + 5) == (True, "")
    said = "the entry 1-0 of events could not be committed for 7.0 s: ConnectionError: refused"
    assert readiness.state(began + 7) == (False, said)
    commits.answered()
    assert readiness.state(began + 7)[1].startswith("the entry 3-0 of relay could not be committed for 7.0 s")
    others.answered()
    assert readiness.state(began + 5) == (True, "")


def test_entries_that_others_have_settled_do_not_count() -> None:
    readiness = Readiness(within_s=6)
    commits = readiness.commits_of("events")
    readiness.read_completed("events")
    commits.failed("1-0", "ConnectionError: refused")
    readiness.all_settled("relay")
    assert commits.failing_since is not None
    readiness.all_settled("events")
    assert commits.failing_since is None
