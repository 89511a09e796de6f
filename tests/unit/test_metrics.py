"""The metrics of a worker for Prometheus."""

from __future__ import annotations

import math
import shutil
import subprocess

import pytest
from prometheus_client import CollectorRegistry, Histogram, disable_created_metrics, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from invites import __version__
from invites.build import COMMIT
from invites.client.group import temporary_name
from invites.events.arguments import MisroutedArguments, RelayedEventArguments
from invites.events.operation import Operation, operation_of
from invites.events.protocol import decode_event
from invites.keys import PROBE_GROUPS, Stream
from invites.queries.gateways import GatewayGroup
from invites.queries.overview import Backlog
from invites.store.answers import CommitResult, Outcome, Status
from invites.store.measures import Ended, Took
from workers.gateway.metrics import GatewayMetrics
from workers.telemetry.distribution import Distribution
from workers.telemetry.metrics import Metrics
from workers.telemetry.reports import Reports
from workers.telemetry.sippo import SippoMetrics


def _samples(metrics: Metrics) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    body, content_type = metrics.exposition("text/plain")
    assert content_type.startswith("text/plain")
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }


def _value(metrics: Metrics, name: str, **labels: str) -> float:
    return _samples(metrics)[f"invites_{name}", frozenset(labels.items())]


def test_what_is_counted_shows_up() -> None:
    metrics = Metrics()
    metrics.event("invite", "done", 3)
    metrics.event("invite", "done")
    metrics.event("invite", "stale")
    metrics.committed(5, 0.004)
    metrics.fired(2)
    metrics.claimed(7)
    metrics.dead_letters()
    metrics.dead_letters_dropped(3)
    metrics.dead_letters_kept(0, 8)
    metrics.redis_error("reading events")
    metrics.reconnected()
    metrics.group_recreated("workers")
    metrics.entry_ahead()
    metrics.trimmed("a:b:{0}:events", 10)
    metrics.trimmed("a:b:{0}:notifications", 0)
    metrics.backlog(0, Stream.EVENTS, Backlog(12, 2, 10, 3_500))
    metrics.backlog(0, Stream.PUSH, Backlog(3, 0, 3, 70))
    metrics.backlog(0, Stream.RELAY, Backlog(1, 1, 0, 5))
    metrics.last_commit(0, 1_500)
    metrics.ready_if(lambda: True)
    metrics.relayed("done", 4)
    metrics.pushed("invitation", "taken")
    metrics.looked_up("group", "found", 0.02)
    assert _value(metrics, "events_total", type="invite", outcome="done") == 4
    assert _value(metrics, "events_total", type="invite", outcome="stale") == 1
    assert _value(metrics, "commit_seconds_sum") == 0.004
    assert _value(metrics, "commit_seconds_bucket", le="0.005") == 1
    assert _value(metrics, "commit_seconds_bucket", le="0.002") == 0
    assert _value(metrics, "commit_events_sum") == 5
    assert _value(metrics, "timers_fired_total") == 2
    assert _value(metrics, "claimed_total") == 7
    assert _value(metrics, "dead_letters_total") == 1
    assert _value(metrics, "dead_letters_dropped_total") == 3
    assert _value(metrics, "dead_letters_kept", shard="0") == 8
    assert _value(metrics, "redis_errors_total", role="reading events") == 1
    assert _value(metrics, "redis_reconnects_total") == 1
    assert _value(metrics, "groups_recreated_total", group="workers") == 1
    assert _value(metrics, "entries_ahead_total") == 1
    assert _value(metrics, "trimmed_total", stream="events") == 10
    assert _value(metrics, "backlog", shard="0", stream="events") == 12
    assert _value(metrics, "backlog", shard="0", stream="push") == 3
    assert _value(metrics, "backlog", shard="0", stream="relay") == 1
    assert _value(metrics, "relayed_total", outcome="done") == 4
    assert _value(metrics, "pushes_total", type="invitation", outcome="taken") == 1
    assert _value(metrics, "oldest_unsettled_event_age_seconds", shard="0") == 3.5
    assert _value(metrics, "look_up_seconds_count", kind="group", outcome="found") == 1
    assert _value(metrics, "last_commit_timestamp_seconds", shard="0") == 1.5
    assert _value(metrics, "ready") == 1


def test_pending_invites_are_a_gauge() -> None:
    metrics = Metrics()
    metrics.pending_invites(3, 17)
    metrics.pending_invites(3, 2)
    assert _value(metrics, "pending_invites", shard="3") == 2


def test_a_gauge_that_cannot_be_measured_is_no_number() -> None:
    metrics = Metrics()
    metrics.backlog(0, Stream.EVENTS, Backlog(12, 2, 10, 3_500))
    metrics.backlog(1, Stream.EVENTS, Backlog(7, 0, 7, 0))
    metrics.groups(0, [GatewayGroup("g", 5, 0, 0, None)])
    metrics.backlog(0, Stream.EVENTS, None)
    metrics.groups(0, None)
    assert math.isnan(_value(metrics, "backlog", shard="0", stream="events"))
    assert math.isnan(_value(metrics, "oldest_unsettled_event_age_seconds", shard="0"))
    assert math.isnan(_value(metrics, "notifications_lag", shard="0", group="g"))
    assert _value(metrics, "backlog", shard="1", stream="events") == 7


def test_the_groups_of_probes_make_no_time_series() -> None:
    metrics = Metrics()
    metrics.groups(0, [GatewayGroup(temporary_name(PROBE_GROUPS), 5, 0, 0, None)])
    assert b"notifications_lag{" not in metrics.exposition("")[0]


def test_the_build_is_named() -> None:
    assert _value(Metrics(), "info", version=__version__, commit=COMMIT) == 1


def test_publishers_cannot_make_new_time_series() -> None:
    metrics = Metrics()
    before = _samples(metrics).keys()
    for number in range(100):
        metrics.event(f"bogus{number}", "dead")
    assert _value(metrics, "events_total", type="unknown", outcome="dead") == 100
    assert _samples(metrics).keys() == before


def test_each_worker_has_a_registry_of_its_own() -> None:
    first, second = Metrics(), Metrics()
    first.claimed(1)
    assert _value(second, "claimed_total") == 0
    assert ("process_resident_memory_bytes", frozenset()) in _samples(first)


def test_the_scraper_chooses_the_format() -> None:
    body, content_type = Metrics().exposition("application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    assert body.endswith(b"# EOF\n")


def test_calls_of_sippo_server_are_measured_by_outcome() -> None:
    metrics = Metrics()
    watch = SippoMetrics(metrics.registry)
    assert _value(metrics, "sippo_breaker_open", call="groups") == 0
    watch.requested("groups", "error", 0.02)
    watch.requested("groups", "found", 0.02)
    watch.called("groups", "found", 0.3)
    watch.broken("groups", broken=True)
    assert _value(metrics, "sippo_request_seconds_count", call="groups", outcome="error") == 1
    assert _value(metrics, "sippo_call_seconds_sum", call="groups", outcome="found") == 0.3
    assert _value(metrics, "sippo_call_seconds_bucket", call="groups", outcome="found", le="0.25") == 0
    assert _value(metrics, "sippo_breaker_open", call="groups") == 1


def test_what_commits_measure_is_counted() -> None:
    metrics = Metrics()
    before = _samples(metrics).keys()
    ended = Ended("group", "DECLINED_BY_TIMEOUT", "timeout")
    times = [Took("rang", 0.3, "push"), Took("answered", 4.0), Took("stopped", 0.04), Took("woke", 2.5)]
    metrics.calls.measured([ended, *times, ended])
    metrics.calls.event_delayed(0.002)
    assert (
        _value(metrics, "calls_ended_total", kind="group", state="DECLINED_BY_TIMEOUT", reason="timeout") == 2
    )
    assert _value(metrics, "ring_seconds_sum", reach="push") == 0.3
    assert _value(metrics, "ring_seconds_count", reach="connection") == 0
    assert _value(metrics, "answer_seconds_sum") == 4.0
    assert _value(metrics, "stop_seconds_bucket", le="0.05") == 1
    assert _value(metrics, "stop_seconds_bucket", le="0.025") == 0
    assert _value(metrics, "wake_seconds_sum") == 2.5
    assert _value(metrics, "event_delay_seconds_bucket", le="0.002") == 1
    assert _samples(metrics).keys() == before


def test_every_counter_is_there_from_the_start() -> None:
    registry = Metrics().registry
    empty = {family.name for family in registry.collect() if family.type == "counter" and not family.samples}
    assert empty == {"invites_redis_errors"}  # which the worker's loops name


def test_an_event_is_measured_where_it_is_applied() -> None:
    metrics = Metrics()
    event = decode_event("roomClosed", b'{"roomId":"r"}')
    here = operation_of("1000-0", event)
    relayed = Operation(
        "relayedEvent", "5000-0", RelayedEventArguments("2000-1", here.rule, here.arguments), event
    )
    passed_on = Operation("misrouted", "1000-1", MisroutedArguments("r", b"roomClosed", b"{}"))
    reports = Reports(metrics)

    def settle(stream: Stream, operation: Operation, status: Status) -> None:
        reports.settled(stream, [operation], CommitResult([Outcome(status)], None, 5_500, []))

    settle(Stream.EVENTS, here, Status.DONE)
    assert _value(metrics, "event_delay_seconds_sum") == 4.5
    settle(Stream.RELAY, relayed, Status.DONE)
    assert _value(metrics, "event_delay_seconds_sum") == 8.0
    for operation, status in ((here, Status.STALE), (here, Status.NEEDS), (passed_on, Status.DONE)):
        settle(Stream.EVENTS, operation, status)
    assert _value(metrics, "event_delay_seconds_count") == 2


def test_a_gateway_counts_from_the_start() -> None:
    families = [family for family in GatewayMetrics().registry.collect() if family.type == "counter"]
    assert all(family.samples for family in families)


@pytest.mark.parametrize(
    "registry", [Metrics().registry, GatewayMetrics().registry], ids=["worker", "gateway"]
)
def test_promtool_finds_nothing_to_criticize(registry: CollectorRegistry) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip(
            "promtool is not installed (Debian package prometheus): nobody checks the names of the metrics"
        )
    checked = subprocess.run(
        [promtool, "check", "metrics"], input=generate_latest(registry), capture_output=True, check=False
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


@pytest.mark.parametrize("label", ["", "reach"])
def test_a_distribution_is_exposed_as_the_histogram_of_the_client_library(label: str) -> None:
    disable_created_metrics()  # type: ignore[no-untyped-call] # has no annotations
    names = [label] if label else []
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    mine = Distribution("seconds", "How long.", (0.005, 1.0, 60.0), ours, label)
    other = Histogram("seconds", "How long.", names, buckets=(0.005, 1.0, 60.0), registry=theirs)
    for each in ("push", "connection") if label else ("",):
        series, child = mine.of(each), other.labels(each) if label else other
        for value in (0.0, 0.005, 0.0051, 1.0, 60.0, 61.5):
            series.observe(value)
            child.observe(value)
    assert generate_latest(ours) == generate_latest(theirs)
