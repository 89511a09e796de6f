"""What workers need on a server is created when it is missing; a loss of data is announced once."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import OutOfMemoryError

from invites import __version__
from invites.keys import WORKERS_GROUP, Stream
from invites.store.announcement import KEPT_MS, WorkerState, read
from invites.store.layout import LayoutError
from tests.support.shard import Shard
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from invites.store.answers import Ensured

pytestmark = pytest.mark.one_shard

ALL = list(Stream)
FAR = 10**14  # ms since 1970


async def _ensure(shard: Shard, known: str = "", new: str = "new") -> Ensured:
    return await shard.committer.ensure(ALL, WorkerState("w1", since=5), known, new)


async def _emptied(shard: Shard) -> list[tuple[str, Any, Any, Any]]:
    return [
        (one.id, one.peers, one.users, one.payload)
        for one in await shard.told()
        if one.type == "serverEmptied"
    ]


async def test_what_is_missing_is_made_and_a_first_start_tells_nothing(shard: Shard) -> None:
    await shard.client.flushall()
    found = await _ensure(shard, new="a")
    assert (found.origin, found.emptied, found.made) == (
        "a",
        False,
        [stream.key(shard.keys) for stream in ALL],
    )
    assert await shard.client.get(shard.keys.layout) == b"1"
    for stream in ALL:
        (group,) = await shard.client.xinfo_groups(stream.key(shard.keys))
        assert (group["name"], group["last-delivered-id"]) == (stream.group.encode(), b"0-0")
    assert await shard.told() == []


async def test_where_all_is_there_nothing_is_written(shard: Shard) -> None:
    await _ensure(shard, new="a")
    before = {key: await shard.client.dump(key) async for key in shard.client.scan_iter()}
    del before[shard.keys.worker("w1").encode()]
    for known in ("", "a"):
        found = await _ensure(shard, known, "b")
        assert (found.origin, found.emptied, found.made) == ("a", False, [])
    after = {key: await shard.client.dump(key) async for key in shard.client.scan_iter()}
    assert after.keys() - before.keys() == {shard.keys.worker("w1").encode()}
    assert {key: after[key] for key in before} == before


async def test_a_group_that_is_missing_alone_is_no_loss_of_data(shard: Shard) -> None:
    await _ensure(shard, new="a")
    await shard.client.delete(shard.keys.events)
    found = await _ensure(shard, "a")
    assert (found.origin, found.emptied, found.made) == ("a", False, [shard.keys.events])
    assert await shard.told() == []


async def test_a_loss_is_told_once_however_many_workers_find_it(shard: Shard) -> None:
    await _ensure(shard, new="a")
    await shard.client.flushall()
    first, second = await _ensure(shard, "a", "b"), await _ensure(shard, "a", "c")
    assert (first.origin, first.emptied, second.origin, second.emptied) == ("b", True, "b", False)
    assert await _emptied(shard) == [("0-emptied-b", [], [], {"shard": 0})]

    await shard.client.flushall()
    shard._seen = "-"
    third, late = await _ensure(shard, "b", "d"), await _ensure(shard, "a", "e")
    assert (third.emptied, late.origin, late.emptied) == (True, "d", False)
    assert await _emptied(shard) == [("0-emptied-d", [], [], {"shard": 0})]


async def test_a_loss_is_told_although_a_new_worker_was_there_first(shard: Shard) -> None:
    await _ensure(shard, new="a")
    await shard.client.flushall()
    assert not (await _ensure(shard, "", "b")).emptied
    assert (await _ensure(shard, "a", "c")).emptied
    assert not (await _ensure(shard, "a", "d")).emptied
    assert await _emptied(shard) == [("0-emptied-b", [], [], {"shard": 0})]


async def test_nothing_is_touched_in_another_layout(shard: Shard) -> None:
    await shard.client.flushall()
    await shard.client.set(shard.keys.layout, "3")
    with pytest.raises(LayoutError, match="in 3 shards"):
        await _ensure(shard, "a")
    assert await shard.client.keys() == [shard.keys.layout.encode()]


async def test_the_worker_is_announced(shard: Shard) -> None:
    await _ensure(shard)
    first = await shard.client.hgetall(shard.keys.worker("w1"))
    announced = read(first)
    assert announced is not None
    assert first[b"name"] == b"w1"
    assert (announced.release, announced.shards, announced.since, announced.last_commit) == (
        __version__,
        1,
        5,
        None,
    )
    seconds, _ = await shard.client.time()
    assert seconds * 1000 - 60_000 < announced.at < seconds * 1000 + 60_000
    assert KEPT_MS - 60_000 < await shard.client.pttl(shard.keys.worker("w1")) <= KEPT_MS
    await shard.committer.ensure(ALL, WorkerState("w1", since=5, last_commit=7), "", "b")
    again = read(await shard.client.hgetall(shard.keys.worker("w1")))
    assert again is not None
    assert again.last_commit == 7


async def test_the_consumer_of_a_worker_that_announces_itself_is_not_deleted(shard: Shard) -> None:
    await _ensure(shard)
    await shard.client.xgroup_createconsumer(shard.keys.events, WORKERS_GROUP, "w1")
    await wait_until(partial(_is_idle, shard, 1), "the consumer is idle")
    await shard.client.hset(shard.keys.worker("w1"), "at", 10**15)
    assert not await shard.committer.retire_consumer("w1", 1)
    await shard.client.hset(shard.keys.worker("w1"), "at", 5)
    assert await shard.committer.retire_consumer("w1", 1)


async def _is_idle(shard: Shard, ms: int) -> bool:
    (one,) = await shard.client.xinfo_consumers(shard.keys.events, WORKERS_GROUP)
    return bool(one["idle"] > ms)


async def test_a_full_server_makes_it_too(valkey_server: str) -> None:
    async with Redis.from_url(valkey_server) as client:
        await client.flushall()
        shard = await Shard.make(client)
        await client.flushall()
        await client.config_set("maxmemory", "1")
        try:
            with pytest.raises(OutOfMemoryError):
                await client.set("one more", "x")
            found = await _ensure(shard, "a", "b")
        finally:
            await client.config_set("maxmemory", "0")
        assert await client.exists(shard.keys.worker("w1"))
        assert (found.emptied, len(found.made)) == (True, len(ALL))


async def _todo(shard: Shard) -> tuple[set[str], set[str], int | None]:
    """What a worker of the events alone learns: which streams have something to do, and when the next timer is due."""
    found = await shard.committer.ensure([Stream.EVENTS], WorkerState("w1", since=5), "", "new")
    every = {*shard.committer.trimmed_streams, shard.keys.dead}
    return every - found.empty, {stream.key(shard.keys) for stream in ALL} - found.settled, found.next_due


async def test_a_worker_learns_what_there_is_to_do(shard: Shard) -> None:
    keys, client = shard.keys, shard.client
    await _ensure(shard)
    assert await _todo(shard) == (set(), set(), None)
    await client.xadd(keys.push, {"type": "x"}, id="1-0")
    await client.xadd(keys.dead, {"type": "x"})
    await client.zadd(keys.timers, {"ring|b": FAR + 1, "ring|a": FAR})
    assert await _todo(shard) == ({keys.push, keys.dead}, set(), FAR)
    await client.xreadgroup("push", "w1", {keys.push: ">"})
    await client.xdel(keys.push, "1-0")
    assert await _todo(shard) == ({keys.push, keys.dead}, {keys.push}, FAR)
    await client.xack(keys.push, "push", "1-0")
    assert await _todo(shard) == ({keys.dead}, set(), FAR)


@pytest.mark.parametrize("score", ["-inf", 5, 5.5])
async def test_a_timer_that_is_late_is_due_now(shard: Shard, score: float) -> None:
    await shard.client.zadd(shard.keys.timers, {"ring|a": score})
    found = await _ensure(shard)
    assert found.next_due == found.now


async def test_a_worker_learns_which_groups_read_the_notifications(shard: Shard) -> None:
    for name in ("g", "h"):
        await shard.client.xgroup_create(shard.keys.notifications, name, "$", mkstream=True)
    assert sorted((await _ensure(shard)).groups) == [b"g", b"h"]


async def test_what_cannot_be_looked_at_counts_as_something_to_do(shard: Shard) -> None:
    keys = shard.keys
    wrong = {keys.push, keys.notifications, keys.dead, keys.timers}
    await shard.client.delete(*wrong)
    for key in wrong:
        await shard.client.set(key, "x")
    busy, unsettled, due = await _todo(shard)
    assert busy == wrong - {keys.timers}
    assert keys.push in unsettled
    assert due is not None
    assert due < FAR
    await shard.client.delete(*wrong)
