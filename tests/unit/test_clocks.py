"""What `invites check` says about clocks."""

import re

import pytest

from invites.store.scripts import sources
from workers.cli.check.clocks import TOLERANCE_MS, judge


@pytest.mark.parametrize(
    ("ahead", "verdict", "said"),
    [
        ({0: 3}, "ok", "Within 3 ms."),
        ({0: -400, 1: 600}, "ok", "Within 1000 ms."),
        ({0: -400, 1: 601}, "warn", "The server of shard 1 is 1001 ms ahead of that of shard 0: "),
        ({0: 5_000, 1: 0, 2: 9}, "warn", "The server of shard 0 is 5000 ms ahead of that of shard 1: "),
        ({0: 5_001, 1: 0}, "FAIL", "The server of shard 0 is 5001 ms ahead of that of shard 1, so calls "),
        ({0: 1_500, 1: 1_400}, "warn", "The server is 1500 ms ahead of this machine, "),
        ({0: -9_000}, "warn", "The server is 9000 ms behind this machine, "),
    ],
)
def test_how_far_clocks_may_differ(ahead: dict[int, int], verdict: str, said: str) -> None:
    found = judge(ahead)
    assert (found.verdict, found.name) == (verdict, "clocks")
    assert found.text.startswith(said)


def test_the_rules_have_the_same_tolerance() -> None:
    [tolerance] = re.findall(r"TOLERANCE = (\d+)", sources()["core/order"])
    assert int(tolerance) == TOLERANCE_MS
