"""Stopping: begun work is finished, the rest is handed back, nothing is left behind."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

import pytest
from redis.asyncio import Redis

from invites.keys import WORKERS_GROUP
from tests.support.held import TRUNK, hold_lookups
from tests.support.proxy import Proxy
from tests.support.servers.node import Node
from tests.support.waiting import wait_until
from tests.support.worker import KEYS, Streams, process, worker

if TYPE_CHECKING:
    from pathlib import Path


async def test_what_was_read_is_settled_and_the_rest_is_left_unread(
    streams: Streams, valkey_url: str
) -> None:
    await streams.make_group()
    await streams.ask(0, 5_000)
    async with worker(valkey_url, claim_after=600_000) as service:
        await wait_until(lambda: _some_settled(streams), "the worker is at work")
        await service.drain()
    assert await streams.pending() == 0
    left = (await streams.client.xinfo_groups(KEYS.events))[0]["lag"]
    assert 0 < left < 5_000
    async with worker(valkey_url) as service:
        await streams.assert_answered(5_000)
        await service.drain()


async def _some_settled(streams: Streams) -> bool:
    return bool(await streams.client.xlen(KEYS.notifications))


async def test_what_cannot_be_finished_is_handed_back(streams: Streams, valkey_url: str) -> None:
    """Others claim it at once, long before `claimAfter`, and not as one more failure."""
    invite = {"peer": {"id": "a1", "user": "alice"}, "to": "600", "inviteId": "c1", "room": "r1"}
    async with worker(valkey_url, claim_after=600_000, consumer="first") as first:
        held = hold_lookups(first)
        await streams.publish("registered", TRUNK)
        entry = await streams.publish("invite", invite)
        await held.asked.wait()
        await first.drain(within_s=0.1)
        found = (await streams.client.xpending_range(KEYS.events, WORKERS_GROUP, "-", "+", 10))[0]
        assert (found["message_id"].decode(), found["times_delivered"]) == (entry, 1)
        assert found["time_since_delivered"] >= 600_000
    async with worker(valkey_url, claim_after=600_000):
        await streams.told(0)
    assert [kind for _, kind, _ in await streams.notifications()] == ["invitation", "inviteProgress"]


async def test_draining_does_not_wait_for_a_server_that_is_away(client: Redis, proxy: Proxy) -> None:
    async with worker(proxy.url, claim_after=600_000) as service:
        await Streams(client).ask(0, 1)
        await Streams(client).told(1)
        await proxy.down()
        async with asyncio.timeout(15):
            await service.drain(within_s=0.2)
        await proxy.up()


# --- real processes

PATIENT = {"claimAfter": 600_000}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_a_signal_drains(
    streams: Streams, client: Redis, valkey_url: str, tmp_path: Path, number: signal.Signals
) -> None:
    await streams.make_group()
    await streams.ask(0, 8_000)
    async with process(valkey_url, tmp_path, PATIENT) as running:
        await wait_until(lambda: _some_settled(streams), "the worker is at work")
        running.send_signal(number)
        assert await running.wait() == 0
    assert await streams.pending() == 0
    assert await client.xinfo_consumers(KEYS.events, WORKERS_GROUP) == []
    async with worker(valkey_url):
        await streams.assert_answered(8_000)


async def test_a_second_signal_ends_at_once(streams: Streams, tmp_path: Path, proxy: Proxy) -> None:
    async with process(proxy.url, tmp_path, PATIENT) as running:
        await streams.ask(0, 1)
        await streams.told(1)
        proxy.delay_s = 60.0  # requests are given up after 5 s
        running.send_signal(signal.SIGTERM)
        assert running.stderr is not None
        while b"is stopping" not in await running.stderr.readline():
            pass
        running.send_signal(signal.SIGTERM)
        async with asyncio.timeout(4.5):
            assert await running.wait() == 0


async def test_a_signal_ends_a_worker_within_10_s_though_the_server_hangs(tmp_path: Path) -> None:
    with Node() as node:
        async with Redis.from_url(node.url) as client, process(node.url, tmp_path, PATIENT) as running:
            await Streams(client).ask(0, 1)
            await Streams(client).told(1)
            node.freeze()
            running.send_signal(signal.SIGTERM)
            async with asyncio.timeout(25):  # 10 s, and a busy machine; without a limit it would never end
                assert await running.wait() == 0


async def test_a_signal_ends_the_wait_for_a_server(tmp_path: Path) -> None:
    async with process("redis://127.0.0.1:1/0", tmp_path, PATIENT) as running:
        assert running.stderr is not None
        while b"cannot be used" not in await running.stderr.readline():
            pass
        running.send_signal(signal.SIGTERM)
        async with asyncio.timeout(15):
            assert await running.wait() == 0


async def test_a_server_that_evicts_ends_the_process(client: Redis, valkey_url: str, tmp_path: Path) -> None:
    await client.config_set("maxmemory-policy", "allkeys-lru")
    await client.config_set("maxmemory", "100mb")
    try:
        async with process(valkey_url, tmp_path, PATIENT) as running:
            _, said = await running.communicate()
            assert running.returncode == 1
            assert b"Set `maxmemory-policy noeviction`" in said
            assert b"Traceback" not in said
    finally:
        await client.config_set("maxmemory", 0)
        await client.config_set("maxmemory-policy", "noeviction")
