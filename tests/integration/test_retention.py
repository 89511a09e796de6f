"""A worker drops notifications that a group leaves for too long and old dead letters, logs it, and measures both."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from tests.support.waiting import wait_until
from tests.support.worker import KEYS, Streams, configured, running, worker
from tests.unit.test_gateways import EVIL

_LARGE = {"type": "x", "payload": "x" * 10_000}


@pytest.fixture
async def server(streams: Streams, valkey_server: str) -> AsyncIterator[tuple[Any, str]]:
    """A client of the emptied Valkey, whose memory may be limited, and its URL."""
    yield streams.client, valkey_server
    await streams.client.config_set("maxmemory", 0)


async def test_old_notifications_are_dropped_with_a_loud_line(
    server: tuple[Any, str], caplog: pytest.LogCaptureFixture
) -> None:
    client, url = server
    for number in range(1, 4):
        await client.xadd(KEYS.notifications, {"type": "x"}, id=f"{number}-0")
    for group in (EVIL, "dead"):
        await client.xgroup_create(KEYS.notifications, group, "0")
    await client.xadd(KEYS.notifications, {"type": "x"})
    async with worker(url) as service:
        value = service.metrics.registry.get_sample_value
        await wait_until(
            lambda: value("invites_notifications_dropped_total") == 3, "what is old has been dropped"
        )
        await wait_until(
            lambda: value("invites_notifications_lag", {"shard": "0", "group": "dead"}) == 1,
            "the rest is the group's lag",
        )
    assert await client.xlen(KEYS.notifications) == 1
    (line,) = [record for record in caplog.records if record.name == "workers.roles.retention"]
    assert line.levelname == "ERROR"
    assert line.getMessage().startswith(
        "Dropped 3 notifications of shard 0 that a group had not acknowledged"
    )
    assert "Behind: \x1b[2J" in line.getMessage()  # the formatter of the log escapes it
    assert ", dead. Start the gateway, or remove its group" in line.getMessage()


async def test_notifications_take_a_quarter_of_the_memory_at_most(server: tuple[Any, str]) -> None:
    client, url = server
    await client.config_set("maxmemory", 16_000_000)
    await client.xgroup_create(KEYS.notifications, "dead", "0", mkstream=True)
    for _ in range(600):
        await client.xadd(KEYS.notifications, _LARGE)
    async with worker(url) as service:
        value = service.metrics.registry.get_sample_value
        await wait_until(
            lambda: (value("invites_notifications_dropped_total") or 0) > 0, "the oldest have been dropped"
        )
    used = await client.memory_usage(KEYS.notifications, samples=0)
    assert 2_000_000 < used < 4_400_000


async def test_old_dead_letters_are_dropped_with_a_warning(
    server: tuple[Any, str], caplog: pytest.LogCaptureFixture
) -> None:
    client, url = server
    for number in range(1, 4):
        await client.xadd(KEYS.dead, {"type": "x"}, id=f"{number}-0")
    seconds, _ = await client.time()
    month = 30 * 24 * 3_600
    await client.xadd(KEYS.dead, {"type": "x"}, id=f"{(seconds - month - 60) * 1000}-0")
    young = await client.xadd(KEYS.dead, {"type": "x"}, id=f"{(seconds - month + 3_600) * 1000}-0")
    async with worker(url) as service:
        value = service.metrics.registry.get_sample_value
        await wait_until(lambda: value("invites_dead_letters_dropped_total") == 4, "old letters are dropped")
        await wait_until(
            lambda: value("invites_dead_letters_kept", {"shard": "0"}) == 1, "the rest is counted"
        )
    assert [entry for entry, _ in await client.xrange(KEYS.dead)] == [young]
    (line,) = [record for record in caplog.records if record.name == "workers.roles.retention"]
    assert line.levelname == "WARNING"
    assert line.getMessage().startswith(
        "Dropped 4 dead letters of shard 0: they were older, or took more memory, than"
    )


async def test_the_oldest_dead_letters_go_when_all_take_too_much_memory(server: tuple[Any, str]) -> None:
    client, url = server
    ids = [await client.xadd(KEYS.dead, {"type": "x", "payload": "x" * 4_096}) for _ in range(100)]
    config = configured()
    small = msgspec.structs.replace(config.invites.dead_retention, bytes=100_000)
    invites = msgspec.structs.replace(config.invites, dead_retention=small)
    async with running(msgspec.structs.replace(config, invites=invites), url) as service:
        value = service.metrics.registry.get_sample_value
        await wait_until(
            lambda: (value("invites_dead_letters_dropped_total") or 0) > 0, "the oldest have been dropped"
        )
        await wait_until(
            lambda: 10 < (value("invites_dead_letters_kept", {"shard": "0"}) or 0) < 25, "few are left"
        )
    left = [entry for entry, _ in await client.xrange(KEYS.dead)]
    assert left == ids[-len(left) :]


async def test_nothing_stays_longer_than_personal_data_may(
    server: tuple[Any, str], caplog: pytest.LogCaptureFixture
) -> None:
    client, url = server
    seconds, _ = await client.time()
    hour = 3_600_000
    old = f"{seconds * 1000 - hour - 60_000}-0"
    for key in (KEYS.dead, KEYS.notifications, KEYS.push):  # no worker of this configuration reads pushes
        await client.xgroup_create(key, "behind", "0", mkstream=True)
        await client.xadd(key, {"type": "x"}, id=old)
        await client.xadd(key, {"type": "x"})
    config = configured(keep_personal=hour)
    longer = msgspec.structs.replace(config.invites.notification_retention, age=2 * hour)
    invites = msgspec.structs.replace(config.invites, notification_retention=longer)
    async with running(msgspec.structs.replace(config, invites=invites), url):
        for key in (KEYS.dead, KEYS.notifications, KEYS.push):

            async def is_dropped(key: str = key) -> bool:
                return bool(await client.xlen(key) == 1)

            await wait_until(is_dropped, f"what is old in {key} is dropped")
        await wait_until(
            lambda: any("invites.keepPersonal" in line.getMessage() for line in caplog.records), "it is said"
        )
