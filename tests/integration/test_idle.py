"""A worker that has nothing to do: its commands, and how it finds new work."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from invites.config import Config, Invites
from invites.keys import WORKERS_GROUP
from tests.support.waiting import wait_until
from tests.support.worker import KEYS, Streams, running
from workers.roles.janitor import Janitor

if TYPE_CHECKING:
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
PATIENT = Config(invites=msgspec.structs.replace(Invites(), claim_after=600_000))


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    for role in ("roles.janitor", "roles.meter", "consumer.reclaimer"):
        monkeypatch.setattr(f"workers.{role}._TICK_S", 0.02)
    monkeypatch.setattr("workers.roles.janitor._RETIRE_S", 3600.0)


async def _asked(client: Redis) -> dict[str, int]:
    """The commands that the server has executed, and how often."""
    found: Any = await client.info("commandstats")
    return {name.removeprefix("cmdstat_"): one["calls"] for name, one in found.items()}


async def _ensured_often(client: Redis) -> None:
    async def often() -> bool:
        return (await _asked(client)).get("hset", 0) >= 15

    await client.config_resetstat()
    await wait_until(often, "the worker has looked often")


async def test_an_idle_worker_reads_and_ensures_and_asks_nothing_else(
    streams: Streams, valkey_url: str
) -> None:
    async with running(Config(), valkey_url):
        await _ensured_often(streams.client)
        await _ensured_often(streams.client)
        asked = await _asked(streams.client)
    assert asked.keys() - {"config|resetstat", "info", "xreadgroup"} <= ENSURE
    # Each call ensures, and so writes one announcement: it does not ask for timers that do not exist.
    assert asked["fcall"] == asked["hset"]


async def test_groups_on_empty_notifications_have_a_gauge(streams: Streams, valkey_url: str) -> None:
    async with running(Config(), valkey_url) as service:

        def lag() -> float | None:
            return service.metrics.registry.get_sample_value(
                "invites_notifications_lag", {"shard": "0", "group": "g"}
            )

        await streams.client.xgroup_create(KEYS.notifications, "g", "$", mkstream=True)
        await wait_until(lambda: lag() == 0.0, "the group is measured")
        await streams.client.xgroup_destroy(KEYS.notifications, "g")
        await wait_until(lambda: lag() is None, "the gauge of the group is gone")


async def test_an_idle_worker_claims_at_once_what_another_one_hands_back(
    streams: Streams, valkey_url: str
) -> None:
    async with running(PATIENT, valkey_url):
        await _ensured_often(streams.client)
        async with streams.client.pipeline() as pipe:  # in one step: the worker waits for entries
            entry = f"{int(time.time() * 1000)}-1"
            pipe.xadd(
                KEYS.events, {"type": "getInvitations", "payload": '{"peer":{"id":"p","user":"u"}}'}, id=entry
            )
            pipe.xreadgroup(WORKERS_GROUP, "other", {KEYS.events: ">"})
            pipe.execute_command(
                b"XCLAIM", KEYS.events, WORKERS_GROUP, "other", 0, entry, "IDLE", 600_000, "JUSTID"
            )
            await pipe.execute()
        await streams.told(1)


async def test_an_idle_worker_fires_what_another_one_has_scheduled(streams: Streams, valkey_url: str) -> None:
    async with running(PATIENT, valkey_url):
        await _ensured_often(streams.client)
        seconds, _ = await streams.client.time()
        await streams.client.zadd(KEYS.timers, {"ring|a|1|b": seconds * 1000 + 1_100})

        async def fired() -> bool:
            return not await streams.client.exists(KEYS.timers)

        await wait_until(fired, "the timer has fired")


async def test_without_the_janitor_the_loops_ask_themselves(
    streams: Streams, valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def stand_still(janitor: Any) -> None:
        await janitor._shard.stopping.wait()

    monkeypatch.setattr(Janitor, "run", stand_still)
    monkeypatch.setattr("workers.consumer.shard.FRESH_S", 0.1)
    monkeypatch.setattr("workers.roles.timers._LONGEST_S", 0.1)
    async with running(Config(invites=msgspec.structs.replace(Invites(), claim_after=300)), valkey_url):
        await streams.client.zadd(KEYS.timers, {"ring|a|1|b": 5})

        async def fired() -> bool:
            return not await streams.client.exists(KEYS.timers)

        async def measured_and_claimed() -> bool:
            return {"xautoclaim", "xrange"} <= (await _asked(streams.client)).keys()

        await wait_until(fired, "the timer has fired")
        await streams.client.config_resetstat()
        await wait_until(measured_and_claimed, "claims and the meter have asked")
