"""The metric of the gateways' groups: safe and bounded, whatever names they choose."""

from __future__ import annotations

from typing import Final

from prometheus_client.parser import text_string_to_metric_families

from invites.queries.gateways import GatewayGroup
from workers.telemetry.metrics import Metrics

EVIL: Final = "\x1b[2J\n\u2028forged\x7f\x9b31m\u202egnp.exe\u200b"


def _group(name: str, lag: int = 1) -> GatewayGroup:
    return GatewayGroup(name, lag, 0, 0, None)


def _lags(metrics: Metrics) -> dict[tuple[str, str], float]:
    body, _ = metrics.exposition("text/plain")
    return {
        (sample.labels["shard"], sample.labels["group"]): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
        if sample.name == "invites_notifications_lag"
    }


def test_each_group_has_its_lag_until_it_is_gone() -> None:
    metrics = Metrics()
    metrics.groups(0, [_group("a", 5), _group("b", 0)])
    metrics.groups(1, [_group("a", 7)])
    assert _lags(metrics) == {("0", "a"): 5, ("0", "b"): 0, ("1", "a"): 7}
    metrics.groups(0, [_group("b", 3)])
    metrics.groups(1, [])
    assert _lags(metrics) == {("0", "b"): 3}


def test_many_groups_share_a_label_with_the_largest_lag_among_them() -> None:
    metrics = Metrics()
    for _ in range(2):
        metrics.groups(0, [_group(f"g{number:03}", number) for number in range(100)])
        found = _lags(metrics)
        assert len(found) == 21
        assert (found["0", "g019"], found["0", "(others)"]) == (19, 99)


def test_a_name_is_escaped_and_not_too_long_for_a_label() -> None:
    metrics = Metrics()
    metrics.groups(0, [_group(EVIL, 1), _group("x" * 1_000, 2)])
    (evil, others) = sorted(group for _, group in _lags(metrics))[::-1]
    assert evil.isprintable()
    assert others == "(others)"
