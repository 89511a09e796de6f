"""What a worker asks of the server while there is nothing to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from invites.config import Config
from tests.support.waiting import wait_until
from tests.support.worker import KEYS, Streams, running

if TYPE_CHECKING:
    import pytest
    from redis.asyncio import Redis

ENSURE = {
    "eval",
    "fcall",
    "get",
    "hget",
    "hset",
    "exists",
    "xinfo|groups",
    "xlen",
    "zrange",
    "time",
    "pexpireat",
}


async def _asked(client: Redis) -> dict[str, int]:
    """The commands that the server has executed, and how often."""
    found: Any = await client.info("commandstats")
    return {name.removeprefix("cmdstat_"): one["calls"] for name, one in found.items()}


async def test_an_idle_worker_reads_and_ensures_and_asks_nothing_else(
    streams: Streams, valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.roles.janitor._TICK_S", 0.02)
    monkeypatch.setattr("workers.roles.janitor._RETIRE_S", 3600.0)
    monkeypatch.setattr("workers.roles.meter._TICK_S", 0.02)

    async def ensured_often() -> bool:
        return (await _asked(streams.client)).get("hset", 0) >= 15

    await streams.client.config_resetstat()
    async with running(Config(), valkey_url):
        await wait_until(ensured_often, "the start is over")
        await streams.client.config_resetstat()
        await wait_until(ensured_often, "the worker has looked often")
        asked = await _asked(streams.client)
    assert asked.keys() - {"config|resetstat", "info", "xreadgroup"} <= ENSURE
    # Each call ensures, and so writes one announcement: timers that nobody has are not asked for.
    assert asked["fcall"] == asked["hset"]


async def test_groups_on_empty_notifications_have_a_gauge(
    streams: Streams, valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.roles.janitor._TICK_S", 0.02)
    monkeypatch.setattr("workers.roles.meter._TICK_S", 0.02)
    async with running(Config(), valkey_url) as service:

        def lag() -> float | None:
            return service.metrics.registry.get_sample_value(
                "invites_notifications_lag", {"shard": "0", "group": "g"}
            )

        await streams.client.xgroup_create(KEYS.notifications, "g", "$", mkstream=True)
        await wait_until(lambda: lag() == 0.0, "the group is measured")
        await streams.client.xgroup_destroy(KEYS.notifications, "g")
        await wait_until(lambda: lag() is None, "the gauge of the group is gone")
