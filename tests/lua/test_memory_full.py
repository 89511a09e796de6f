"""A server out of memory: events that end calls go through and make room, new calls wait, nothing is lost."""

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis
from redis.exceptions import OutOfMemoryError

from invites.keys import WORKERS_GROUP
from invites.store.answers import Status
from invites.store.retention import retain
from tests.support import events as e
from tests.support.forgetting import forget_functions
from tests.support.leaks import assert_nothing_leaks
from tests.support.shard import Shard

pytestmark = pytest.mark.one_shard

GROWING = [
    e.invite(invite_id="2"), e.request(invite_id="3"), e.registered("desk"), e.joined("carol"),
    e.invite(returnOf="alice|1|bob"), e.user_state(dnd=True),
]  # fmt: skip
SHRINKING = [
    e.accept("phone"), e.ringing("phone"), e.decline("phone"), e.silence("phone"), e.stop(), e.disconnected("phone"),
    e.unregistered("phone"),
    e.left("alice"), e.room_closed(), e.invitations("phone"), ("nonsense", {}),
]  # fmt: skip


@pytest.fixture(params=["valkey", "redis"])
async def full(request: pytest.FixtureRequest) -> AsyncIterator[Shard]:
    """A shard on a real server, in which Bob's phone and tablet ring; `fill` makes the server full."""
    url: str = request.getfixturevalue("valkey_server" if request.param == "valkey" else "redis_server")
    async with Redis.from_url(url) as client:
        await client.flushall()
        await forget_functions(client)
        shard = await Shard.make(client)
        await e.bob_rings(shard, "phone", "tablet")
        await shard.told()
        try:
            yield shard
            await _make_room(shard)
            await assert_nothing_leaks(client, shard.keys)
        finally:
            await _make_room(shard)


async def _fill(shard: Shard) -> None:
    await shard.client.config_set("maxmemory", "1")
    with pytest.raises(OutOfMemoryError):
        await shard.client.set("one more", "x")


async def _make_room(shard: Shard) -> None:
    await shard.client.config_set("maxmemory", "0")


async def _pending(shard: Shard) -> int:
    return int((await shard.client.xpending(shard.keys.events, WORKERS_GROUP))["pending"])


@pytest.mark.parametrize("event", GROWING, ids=lambda event: str(event[0]))
async def test_what_makes_state_grow_waits_until_there_is_room(full: Shard, event: e.Published) -> None:
    operation = await full.publish(*event)
    await _fill(full)
    for _ in range(3):
        [found] = await full.settle(operation)
        assert found.status is Status.FULL
    assert await full.told() == []
    assert await _pending(full) == 1

    await _make_room(full)
    [found] = await full.settle(operation)
    assert found.status is Status.DONE


@pytest.mark.parametrize("event", SHRINKING, ids=lambda event: str(event[0]))
async def test_what_ends_calls_goes_through(full: Shard, event: e.Published) -> None:
    operation = await full.publish(*event)
    await _fill(full)
    [found] = await full.settle(operation)
    assert found.status is Status.DONE
    assert await _pending(full) == 0


async def test_an_accept_has_all_its_effects(full: Shard) -> None:
    operation = await full.publish(*e.accept("phone"))
    await _fill(full)
    await full.settle(operation)
    told = await full.told()
    assert e.types(told) == ["INVITE_COMPLETED", "answer", "invitationCancel", "inviteAccepted"]
    assert e.outcome(told, "answer") == (200, "accepted")


async def test_in_a_mixed_batch_each_outcome_stands_at_its_place(full: Shard) -> None:
    events = [GROWING[0], e.ringing("phone"), GROWING[2], e.accept("phone"), GROWING[3], e.stop()]
    operations = [await full.publish(*event) for event in events]
    await _fill(full)
    found = await full.settle(*operations)
    assert [each.status for each in found] == [
        Status.FULL, Status.DONE, Status.FULL, Status.DONE, Status.FULL, Status.DONE,
    ]  # fmt: skip
    assert await _pending(full) == 3

    await _make_room(full)
    found = await full.settle(*operations)
    assert [each.status for each in found] == [
        Status.DONE, Status.STALE, Status.DONE, Status.STALE, Status.DONE, Status.STALE,
    ]  # fmt: skip
    assert e.recipients(await full.told(), "inviteAccepted") == {"a"}


async def test_timers_fire(full: Shard) -> None:
    await _fill(full)
    full.now += e.RING
    told = await full.fire()
    assert e.outcome(told, "inviteRejected") == (408, "timeout")
    assert e.one(told, "INVITE_COMPLETED").payload["error"] == 408


async def test_streams_are_trimmed_and_consumers_retired(full: Shard) -> None:
    await _fill(full)
    assert await full.committer.trim(full.keys.events) == 3
    assert await full.committer.retire_consumer("test", 0)


async def test_notifications_that_nobody_reads_are_dropped(full: Shard) -> None:
    await full.client.xgroup_create(full.keys.notifications, "gone", "0")
    await _fill(full)
    to_come = -60_000  # everything is older than what comes in a minute
    dropped = await retain(full.client, full.keys.notifications, to_come, None)
    assert dropped.count > 0
    assert dropped.groups == {b"gone"}
    assert await full.client.xlen(full.keys.notifications) == 0


async def test_a_server_that_forgot_the_functions_does_what_it_can_although_it_is_full(full: Shard) -> None:
    operations = [await full.publish(*event) for event in (e.invite(invite_id="2"), e.accept("phone"))]
    await forget_functions(full.client)
    await _fill(full)
    assert [each.status for each in await full.settle(*operations)] == [Status.FULL, Status.DONE]
    await _make_room(full)
    await full.settle(operations[0])
