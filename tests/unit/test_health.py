"""What counts as a warning and what as critical, at the edge of each threshold."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from invites.queries.gateways import GatewayGroup
from invites.queries.health import Level, problems
from invites.queries.memory import Memory
from invites.queries.overview import Backlog, Consumer, Overview

NOTHING = Backlog(0, 0, 0, 0)
WELL = Overview(
    shard=0,
    backlog=NOTHING,
    relay_backlog=NOTHING,
    push_backlog=NOTHING,
    pending_invites=0,
    timers=0,
    overdue_timers=0,
    events=0,
    notifications=0,
    dead_letters=7,
    consumers=[Consumer("w1", 0, 5, alive=True, announced=None)],
    groups=[],
    memory=Memory(90, 100),
    newest_dead_letter_ms=None,
)


def waiting(ms: int) -> Backlog:
    return Backlog(1, 1, 0, ms)


def group(ms: int) -> list[GatewayGroup]:
    return [GatewayGroup("gateway", 1, 0, ms, 5)]


@pytest.mark.parametrize(
    ("changed", "levels"),
    [
        ({}, []),
        ({"consumers": None}, [Level.CRITICAL]),
        ({"consumers": [Consumer("w1", 0, 5, alive=False, announced=None)]}, [Level.CRITICAL]),
        ({"backlog": waiting(5_000)}, []),
        ({"backlog": waiting(5_001)}, [Level.WARNING]),
        ({"backlog": waiting(10_001)}, [Level.CRITICAL]),
        ({"relay_backlog": waiting(5_001)}, [Level.WARNING]),
        ({"relay_backlog": waiting(10_001)}, [Level.CRITICAL]),
        ({"groups": group(60_000)}, []),
        ({"groups": group(60_001)}, [Level.WARNING]),
        ({"groups": [replace(group(60_001)[0], name="temporary:probe:host:1:ab")]}, []),
        ({"memory": None}, []),
        ({"memory": Memory(91, 100)}, [Level.WARNING]),
        ({"memory": Memory(101, 100)}, [Level.CRITICAL]),
        ({"memory": Memory(1, 100, "noeviction")}, []),
        ({"memory": Memory(1, 100, "volatile-ttl")}, [Level.CRITICAL]),
        ({"memory": Memory(1, 0, "allkeys-lru")}, []),
        ({"newest_dead_letter_ms": 3_600_000}, [Level.WARNING]),
        ({"newest_dead_letter_ms": 3_600_001}, []),
        ({"newest_dead_letter_ms": 0, "consumers": []}, [Level.CRITICAL, Level.WARNING]),
    ],
    ids=str,
)
def test_each_threshold(changed: dict[str, Any], levels: list[Level]) -> None:
    assert [one.level for one in problems(replace(WELL, **changed))] == levels
