"""Deadlines with real workers: in time, once, and after a night without workers."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

from redis.asyncio import Redis

from tests.support.waiting import wait_until
from tests.support.worker import KEYS, Streams, worker

BOB = {"registry": {"id": "b1", "user": "bob"}}


def invite(number: int, expires: int) -> dict[str, object]:
    return {
        "peer": {"id": "a1", "user": "alice"},
        "to": "bob",
        "inviteId": f"call-{number}",
        "room": "r1",
        "expires": expires,
    }


async def records(streams: Streams) -> list[dict[str, Any]]:
    return await streams.payloads("INVITE_COMPLETED")


async def test_a_deadline_that_a_commit_has_set_is_kept(streams: Streams, valkey_url: str) -> None:
    """Not a poll a second later: the worker knows the deadline from its own commit."""
    async with worker(valkey_url):
        await streams.publish("registered", BOB)
        entry = await streams.publish("invite", invite(1, 150))
        await streams.heard("INVITE_COMPLETED")
    record = (await records(streams))[0]
    assert record["error"] == 408
    late_ms = record["endedAt"] - int(entry.split("-")[0]) - 150
    assert 0 <= late_ms < 200


async def test_a_deadline_of_another_worker_is_kept(streams: Streams, valkey_url: str) -> None:
    async with worker(valkey_url) as first, worker(valkey_url):
        await streams.publish("registered", BOB)
        await streams.publish("invite", invite(1, 400))
        await streams.heard("invitation")
        await first.drain()
        await streams.heard("INVITE_COMPLETED")


async def test_many_deadlines_at_once_are_each_kept_once(
    streams: Streams, client: Redis, valkey_url: str
) -> None:
    async with worker(valkey_url), worker(valkey_url), worker(valkey_url):
        await streams.publish("registered", BOB)
        await wait_until(lambda: _exists(client, KEYS.registry("bob")), "bob is registered")
        for number in range(1_000):
            await streams.publish("invite", invite(number, 2_000))
        await streams.heard("INVITE_COMPLETED", 1_000)
    ends = Counter((record["inviteId"], record["error"]) for record in await records(streams))
    assert ends == {(f"call-{number}", 408): 1 for number in range(1_000)}


async def _exists(client: Redis, key: str) -> bool:
    return bool(await client.exists(key))


async def test_what_was_said_in_time_counts_after_a_time_without_workers(
    streams: Streams, valkey_url: str
) -> None:
    async with worker(valkey_url) as first:
        await streams.publish("registered", BOB)
        for number in range(200):
            await streams.publish("invite", invite(number, 3_000))
        deadline = time.monotonic() + 3.0
        await streams.heard("invitation", 200)
        await first.drain()
    for number in range(200):
        payload = {"peer": {"id": "b1", "user": "bob"}, "from": "alice", "inviteId": f"call-{number}"}
        await streams.publish("accept", payload)
    await wait_until(lambda: time.monotonic() > deadline, "all deadlines have passed")
    assert await records(streams) == []
    async with worker(valkey_url):
        await streams.heard("INVITE_COMPLETED", 200)
    assert {record["error"] for record in await records(streams)} == {200}


async def test_events_are_committed_in_the_order_of_the_stream(streams: Streams, valkey_url: str) -> None:
    await streams.make_group()
    await streams.ask(0, 3_000)
    async with worker(valkey_url):
        await streams.told(3_000)
    assert await streams.answers() == list(range(3_000))
