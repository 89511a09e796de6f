"""Notifications that are too old or too many are dropped, even unread, and the groups that lose some are named."""

from __future__ import annotations

import pytest

from invites.store.retention import Dropped, retain
from tests.support.shard import Shard

pytestmark = pytest.mark.one_shard

HOUR = 3_600_000


async def _old(shard: Shard, count: int, size: int = 1) -> list[str]:
    """Add notifications of the year 1970."""
    entries = [f"{number + 1}-0" for number in range(count)]
    for entry in entries:
        await shard.client.xadd(shard.keys.notifications, {"payload": "x" * size}, id=entry)
    return entries


async def _new(shard: Shard, count: int, size: int = 1) -> None:
    for _ in range(count):
        await shard.client.xadd(shard.keys.notifications, {"payload": "x" * size})


async def _group(shard: Shard, name: str, acknowledged: int = 0, pending: int = 0) -> None:
    """A group that has read the first entries."""
    client, stream = shard.client, shard.keys.notifications
    await client.xgroup_create(stream, name, "0", mkstream=True)
    if acknowledged or pending:
        await client.xreadgroup(name, "g", {stream: ">"}, count=acknowledged + pending)
    if acknowledged:
        found = await client.xrange(stream, count=acknowledged)
        await client.xack(stream, name, *(entry for entry, _ in found))


async def _retain(shard: Shard, size: int | None) -> Dropped:
    return await retain(shard.client, shard.keys.notifications, HOUR, size)


async def _left(shard: Shard) -> int:
    return int(await shard.client.xlen(shard.keys.notifications))


async def test_old_ones_go_whoever_has_not_read_them(shard: Shard) -> None:
    await _old(shard, 5)
    await _new(shard, 3)
    await _group(shard, "never-read")
    await _group(shard, "stuck", acknowledged=4, pending=1)
    await _group(shard, "alive", acknowledged=5)
    await _group(shard, "finished", acknowledged=8)
    assert await shard.committer.trim(shard.keys.notifications) == 0
    dropped = await _retain(shard, None)
    assert dropped == Dropped(5, frozenset({b"never-read", b"stuck"}))
    assert await _left(shard) == 3
    assert await _retain(shard, None) == Dropped(0)


async def test_without_a_group_old_ones_go_too(shard: Shard) -> None:
    assert await _retain(shard, 1_000) == Dropped(0)
    await _old(shard, 5)
    assert await _retain(shard, None) == Dropped(5, frozenset())


async def test_a_stream_of_old_ones_alone_becomes_empty(shard: Shard) -> None:
    await _old(shard, 250)
    await _group(shard, "gone")
    assert await _retain(shard, None) == Dropped(250, frozenset({b"gone"}))
    assert await _left(shard) == 0


async def test_young_ones_stay_while_there_is_room(shard: Shard) -> None:
    await _new(shard, 300, size=300)
    await _group(shard, "gone")
    assert await _retain(shard, None) == Dropped(0)
    assert await _retain(shard, 1_000_000) == Dropped(0)


async def test_the_oldest_go_when_they_take_too_much_memory(shard: Shard) -> None:
    await _new(shard, 600, size=300)
    await _group(shard, "gone")
    await _group(shard, "finished", acknowledged=600)
    limit = 100_000
    dropped = await _retain(shard, limit)
    assert dropped.groups == {b"gone"}
    left = await _left(shard)
    assert dropped.count + left == 600
    assert limit / 2 < left * 300 < limit


async def test_one_entry_that_is_larger_than_all_may_be_goes(shard: Shard) -> None:
    await _new(shard, 1, size=50_000)
    await _group(shard, "gone")
    dropped = await _retain(shard, 1_000)
    assert dropped.count + await _left(shard) == 1


async def test_pending_entries_that_were_dropped_hold_nothing_back(shard: Shard) -> None:
    await _old(shard, 2)
    await _new(shard, 3)
    await _group(shard, "returned", pending=2)
    await _retain(shard, None)
    client, stream = shard.client, shard.keys.notifications
    await client.xreadgroup("returned", "g", {stream: ">"})
    read = [entry for entry, _ in await client.xrange(stream)]
    await client.xack(stream, "returned", *read[:2])
    assert await shard.committer.trim(stream) == 2
    await client.xack(stream, "returned", read[2])
    assert await shard.committer.trim(stream) == 1


@pytest.mark.parametrize("at", [f"5-{2**64 - 1}", f"7-{2**53 + 1}", f"{2**64 - 1}-{2**64 - 1}"])
async def test_ids_that_a_double_does_not_hold_do_no_harm(shard: Shard, at: str) -> None:
    await shard.client.xadd(shard.keys.notifications, {"payload": "x"}, id=at)
    await _group(shard, "gone")
    for limit in (None, 1_000, 100_000):
        await _retain(shard, limit)
    assert await _left(shard) == (at.startswith(str(2**64 - 1)))
