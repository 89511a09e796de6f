"""A short run of calls to groups and phones while workers are killed and sippo-server fails."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.chaos.fleet import Fleet
from tests.chaos.reach import Reach, directory
from workers.standin import StandIn

if TYPE_CHECKING:
    from redis.asyncio import Redis


@pytest.mark.chaos
@pytest.mark.slow
async def test_groups_and_phones_are_reached_once_while_workers_die_and_sippo_server_fails(
    client: Redis, valkey_url: str
) -> None:
    async with StandIn(directory()) as standin:
        basic = {
            "resolveGroups": True,
            "resolvePush": True,
            "wac": {**standin.wac, "timeout": 500, "breakFor": 300},
        }
        invites = {"basic": basic, "maxDeliveries": 100}
        with Fleet(valkey_url, 2, 7, invites, ("kill", "kill", "stop")) as fleet:
            reach = Reach(client, standin, fleet, seed=7)
            await reach.play(rounds=3)
        kinds = Counter(push.job.type for push in standin.pushes)
    assert reach.faults == []
    assert len(reach.calls) == 87
    assert sum(fleet.harm.values()) >= 4
    assert min(kinds["invitation"], kinds["invitationCancel"]) > 50
