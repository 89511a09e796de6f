"""How a shard is doing: backlog, workers, timers."""

from __future__ import annotations

import json
import time
from typing import Any

import msgspec
import pytest
from redis.asyncio import Redis

from invites.keys import WORKERS_GROUP, Keys
from invites.queries import streams
from invites.queries.health import problems
from invites.queries.overview import backlog, consumers, overview

KEYS = Keys()


def _json(value: object) -> Any:
    return json.loads(msgspec.json.encode(value))


async def _publish(client: Redis, count: int, at: int | None = None) -> None:
    for number in range(count):
        entry = "*" if at is None else f"{at}-{number}"
        await client.xadd(KEYS.events, {"type": "x"}, id=entry)


async def _deliver(client: Redis, count: int) -> list[bytes]:
    reply = await client.xreadgroup(WORKERS_GROUP, "w1", {KEYS.events: ">"}, count=count)
    assert isinstance(reply, list)
    return [entry for entry, _ in reply[0][1]]


async def test_a_shard_that_nobody_has_used(client: Redis) -> None:
    found = _json(await overview(client, KEYS))
    memory = found.pop("memory")
    assert memory["usedBytes"] > 0
    assert memory["maxBytes"] == 0
    assert found == {
        "shard": 0,
        "backlog": {"entries": 0, "unread": 0, "delivered": 0, "oldestMs": 0},
        "relayBacklog": {"entries": 0, "unread": 0, "delivered": 0, "oldestMs": 0},
        "pushBacklog": {"entries": 0, "unread": 0, "delivered": 0, "oldestMs": 0},
        "pendingInvites": 0,
        "timers": 0,
        "overdueTimers": 0,
        "events": 0,
        "notifications": 0,
        "deadLetters": 0,
        "consumers": None,
        "groups": [],
        "newestDeadLetterMs": None,
    }


@pytest.mark.leaks
async def test_without_a_group_all_that_was_published_is_backlog(client: Redis) -> None:
    await _publish(client, 3, at=int(time.time() * 1000) - 60_000)
    found = await backlog(client, KEYS)
    assert (found.entries, found.unread, found.delivered) == (3, 3, 0)
    assert 59_000 < found.oldest_ms < 70_000
    await client.xgroup_create(KEYS.events, "somebody-else", "0")
    assert (await backlog(client, KEYS)).entries == 3


async def test_the_backlog_is_what_is_not_settled(client: Redis) -> None:
    await _publish(client, 5, at=int(time.time() * 1000) - 60_000)
    await client.xgroup_create(KEYS.events, WORKERS_GROUP, "0")
    taken = await _deliver(client, 3)
    await client.xack(KEYS.events, WORKERS_GROUP, taken[0])
    found = await backlog(client, KEYS)
    assert (found.entries, found.unread, found.delivered) == (4, 2, 2)
    assert found.oldest_ms > 59_000
    await client.xack(KEYS.events, WORKERS_GROUP, *taken, *await _deliver(client, 10))
    assert _json(await backlog(client, KEYS)) == {"entries": 0, "unread": 0, "delivered": 0, "oldestMs": 0}


async def test_the_backlog_is_right_where_the_servers_lag_is_unknown(client: Redis) -> None:
    await client.xgroup_create(KEYS.events, WORKERS_GROUP, "0", mkstream=True)
    await _publish(client, 6)
    taken = await _deliver(client, 2)
    await client.xack(KEYS.events, WORKERS_GROUP, *taken)
    rest = await streams.read(client, KEYS.events)
    await client.xdel(KEYS.events, taken[0], rest[3].id)
    (group,) = await client.xinfo_groups(KEYS.events)
    assert group["lag"] is None
    found = await backlog(client, KEYS)
    # One settled entry is still in the stream: until it is trimmed nothing tells it from an unread one.
    assert (found.unread, found.delivered) == (4, 0)
    await client.xtrim(KEYS.events, minid=rest[2].id, approximate=False)
    assert (await backlog(client, KEYS)).unread == 3
    await client.xack(KEYS.events, WORKERS_GROUP, *await _deliver(client, 10))
    assert (await backlog(client, KEYS)).entries == 0


@pytest.mark.leaks
async def test_workers_timers_and_streams_of_a_shard(client: Redis) -> None:
    now = int(time.time() * 1000)
    await client.xgroup_create(KEYS.events, WORKERS_GROUP, "0", mkstream=True)
    await _publish(client, 2)
    await _deliver(client, 1)
    await client.xgroup_createconsumer(KEYS.events, WORKERS_GROUP, "a0")
    await client.zadd(
        KEYS.timers, {"ring|a|b|c": now - 5, "ring|a|b|d": now + 60_000, "grace|bob|b1": now + 60_000}
    )
    await client.xadd(KEYS.notifications, {"type": "x"})
    await client.xadd(KEYS.dead, {"type": "x"})
    found = await overview(client, KEYS)
    assert (found.pending_invites, found.timers, found.overdue_timers) == (2, 3, 1)
    assert (found.events, found.notifications, found.dead_letters) == (2, 1, 1)
    assert found.consumers is not None
    assert [(one.name, one.pending) for one in found.consumers] == [("a0", 0), ("w1", 1)]
    assert all(0 <= one.idle_ms < 60_000 for one in found.consumers)


@pytest.mark.leaks
async def test_a_worker_is_alive_while_it_announces_itself(
    client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    await client.xgroup_create(KEYS.events, WORKERS_GROUP, "0", mkstream=True)
    await client.xgroup_createconsumer(KEYS.events, WORKERS_GROUP, "w1")
    announced = {"release": "0.2.0", "shards": 1, "since": 5, "lastCommit": 7, "at": 9}
    await client.hset(KEYS.worker("w1"), mapping=announced)  # type: ignore[arg-type] # numbers are fine
    monkeypatch.setattr("invites.queries.overview.ALIVE_MS", -1)  # however lately it has read
    assert [one.sentence for one in problems(await overview(client, KEYS))] == ["no worker is there"]
    announced["at"] = 10**15
    await client.hset(KEYS.worker("w1"), "at", str(announced["at"]))
    monkeypatch.setattr("invites.queries.overview.ALIVE_MS", 0)
    found = _json(await overview(client, KEYS))["consumers"]
    assert found == [{"name": "w1", "pending": 0, "idleMs": 0, "alive": True, "announced": announced}]
    assert problems(await overview(client, KEYS)) == []


@pytest.mark.leaks
async def test_a_worker_that_announces_nothing_is_not_gone_on_a_server_that_counts_no_empty_reads(
    client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before Redis 7.2 XINFO CONSUMERS has no `inactive`, and an old worker without work seems idle."""
    await client.xgroup_create(KEYS.events, WORKERS_GROUP, "0", mkstream=True)
    await client.xgroup_createconsumer(KEYS.events, WORKERS_GROUP, "old")
    asked = Redis.xinfo_consumers

    more: dict[str, int] = {"inactive": -1}

    async def consumers_of(redis: Redis, *names: str) -> Any:
        found: Any = await asked(redis, *names)
        return [{"name": one["name"], "pending": one["pending"], "idle": idle} | more for one in found]

    async def is_alive() -> bool:
        return [one.alive for one in await consumers(client, KEYS) or ()] == [True]

    monkeypatch.setattr(Redis, "xinfo_consumers", consumers_of)
    idle = 11_000
    assert not await is_alive()
    del more["inactive"]
    assert await is_alive()
    idle = 23 * 3_600_000
    assert await is_alive()
    idle = 25 * 3_600_000
    assert not await is_alive()


async def test_many_timers_are_counted_page_by_page(client: Redis) -> None:
    await client.zadd(KEYS.timers, {f"ring|a|{number}|b": number for number in range(2500)})
    assert (await overview(client, KEYS)).pending_invites == 2500


async def test_a_stream_at_its_last_id_has_no_backlog(client: Redis) -> None:
    await client.xgroup_create(KEYS.events, WORKERS_GROUP, "0", mkstream=True)
    await client.xadd(KEYS.events, {"type": "x"}, id=f"{2**64 - 1}-{2**64 - 1}")
    assert (await backlog(client, KEYS)).entries == 1
    await client.xack(KEYS.events, WORKERS_GROUP, *await _deliver(client, 1))
    assert (await backlog(client, KEYS)).entries == 0
    assert [entry.at async for entry in streams.pages(client, KEYS.events)] == [2**64 - 1]
