"""What a worker exports to Prometheus."""

from __future__ import annotations

import math

from prometheus_client.parser import text_string_to_metric_families

from invites import __version__
from invites.build import COMMIT
from invites.client.group import temporary_name
from invites.keys import PROBE_GROUPS, Stream
from invites.queries.gateways import GatewayGroup
from invites.queries.overview import Backlog
from workers.telemetry.metrics import Metrics
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
    metrics.trimmed("events", 10)
    metrics.trimmed("notifications", 0)
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
    assert _value(metrics, "backlog", shard="0") == 12
    assert _value(metrics, "push_backlog", shard="0") == 3
    assert _value(metrics, "relay_backlog", shard="0") == 1
    assert _value(metrics, "relayed_total", outcome="done") == 4
    assert _value(metrics, "pushes_total", type="invitation", outcome="taken") == 1
    assert _value(metrics, "oldest_unsettled_event_age_seconds", shard="0") == 3.5
    assert _value(metrics, "look_up_seconds_count", kind="group", outcome="found") == 1
    assert _value(metrics, "last_commit_timestamp_seconds", shard="0") == 1.5
    assert _value(metrics, "ready") == 1


def test_a_gauge_that_cannot_be_measured_is_no_number() -> None:
    metrics = Metrics()
    metrics.backlog(0, Stream.EVENTS, Backlog(12, 2, 10, 3_500))
    metrics.backlog(1, Stream.EVENTS, Backlog(7, 0, 7, 0))
    metrics.groups(0, [GatewayGroup("g", 5, 0, 0, None)])
    metrics.backlog(0, Stream.EVENTS, None)
    metrics.groups(0, None)
    assert math.isnan(_value(metrics, "backlog", shard="0"))
    assert math.isnan(_value(metrics, "oldest_unsettled_event_age_seconds", shard="0"))
    assert math.isnan(_value(metrics, "notifications_lag", shard="0", group="g"))
    assert _value(metrics, "backlog", shard="1") == 7


def test_the_groups_of_probes_make_no_time_series() -> None:
    metrics = Metrics()
    metrics.groups(0, [GatewayGroup(temporary_name(PROBE_GROUPS), 5, 0, 0, None)])
    assert b"notifications_lag{" not in metrics.exposition("")[0]


def test_the_build_is_named() -> None:
    assert _value(Metrics(), "info", version=__version__, commit=COMMIT) == 1


def test_publishers_cannot_make_new_time_series() -> None:
    metrics = Metrics()
    for number in range(100):
        metrics.event(f"bogus{number}", "dead")
    assert _value(metrics, "events_total", type="unknown", outcome="dead") == 100
    assert sum(name == "invites_events_total" for name, _ in _samples(metrics)) == 1


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
