"""A worker's view of all shards while some hang."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from invites.connection.clients import Clients
from invites.keys import Keys
from invites.queries.overview import Backlog, Overview
from workers.http import installation
from workers.http.installation import Installation

_NOTHING = Backlog(0, 0, 0, 0)
_SHARDS = 64


def _overview(shard: int) -> Overview:
    return Overview(
        shard=shard, backlog=_NOTHING, relay_backlog=_NOTHING, push_backlog=_NOTHING, pending_invites=0, timers=0,
        overdue_timers=0, events=0, notifications=0, dead_letters=0, consumers=[], groups=[], memory=None,
    )  # fmt: skip


async def test_shards_that_hang_hide_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    async def look(_: Any, keys: Keys) -> Overview:
        if keys.shard % 3 == 0:
            await asyncio.Event().wait()
        return _overview(keys.shard)

    monkeypatch.setattr(installation, "overview", look)
    monkeypatch.setattr(installation, "_SHARD_WITHIN_S", 1.0)
    monkeypatch.setattr(installation, "_PLACE_S", 0.05)
    shards = [Keys(shard=number, shards=_SHARDS) for number in range(_SHARDS)]
    async with Clients("redis+cluster://127.0.0.1:1", "test") as clients:
        async with asyncio.timeout(2.0):  # as the HTTP server does: twice what a shard may take
            found = await Installation(shards, clients, asyncio.Semaphore(8)).overview()
    hanging = {number for number in range(_SHARDS) if number % 3 == 0}
    assert {one.shard for one in found["shards"]} == set(range(_SHARDS)) - hanging
    away = {one["shard"] for one in found["problems"] if one["problem"] == "its server does not answer"}
    assert away == hanging
