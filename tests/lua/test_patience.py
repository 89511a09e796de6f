"""Timers wait for events that were published before them and are unread or pending, but not forever."""

import json
from collections.abc import AsyncIterator

import pytest

from invites.events.operation import Operation
from invites.keys import WORKERS_GROUP
from tests.support import events as e
from tests.support.shard import Json, MakeShard, Shard, of_type

pytestmark = pytest.mark.one_shard

FUTURE = "9999999999999-1"
AGAIN = 50


@pytest.fixture
async def ringing(beside: Shard) -> AsyncIterator[Shard]:
    """A shard in which Alice's call rings for one second more. At the end nothing is left pending."""
    await e.bob_rings(beside, "phone", "tablet")
    beside.now += e.RING - 1_000
    yield beside
    await _drop_pending(beside)


async def _drop_pending(shard: Shard) -> None:
    for held in await shard.client.xpending_range(shard.keys.events, WORKERS_GROUP, "-", "+", 100):
        await shard.client.xack(shard.keys.events, WORKERS_GROUP, held["message_id"])


async def _unread(shard: Shard, kind: str, payload: Json) -> None:
    """Publish an event that no worker reads yet."""
    fields = {"type": kind, "payload": json.dumps(payload)}
    await shard.client.xadd(shard.keys.events, fields, id=shard.entry_id())


async def _read(shard: Shard) -> None:
    await shard.client.xreadgroup(WORKERS_GROUP, "stopped", {shard.keys.events: ">"})


async def _poison(shard: Shard) -> Operation:
    """An event that stays pending."""
    return await shard.publish(*e.invitations("tablet"))


async def test_an_accept_that_is_pending_in_time_wins(ringing: Shard) -> None:
    accept = await ringing.publish(*e.accept("phone"))
    assert await e.later(ringing, 1_500) == []
    await ringing.settle(accept)
    assert e.outcome(await ringing.fire(), "answer") == (200, "accepted")
    assert await e.patience_ends(ringing) == []


async def test_a_time_out_waits_for_an_accept_that_nobody_has_read(ringing: Shard) -> None:
    await _unread(ringing, *e.accept("phone"))
    assert await e.later(ringing, 1_500) == []
    await _read(ringing)
    assert await e.later(ringing, 1_500) == []


@pytest.mark.parametrize("read", [False, True], ids=["unread", "pending"])
async def test_it_waits_for_its_patience_and_no_longer(ringing: Shard, read: bool) -> None:
    await _unread(ringing, *e.accept("phone"))
    if read:
        await _read(ringing)
    told = []
    for _ in range(e.PATIENCE // 1_000):
        told += await e.later(ringing, 1_000)
    told += await e.later(ringing, 999)
    assert told == []
    assert e.outcome(await e.later(ringing, 1), "inviteRejected") == (408, "timeout")


async def test_the_patience_counts_from_when_workers_are_back(ringing: Shard) -> None:
    accept = await ringing.publish(*e.accept("phone"))
    assert await e.later(ringing, 3_600_000) == []
    assert await e.later(ringing, 1_000) == []
    assert await e.later(ringing, 3_600_000) == []
    await ringing.settle(accept)
    assert e.outcome(await ringing.fire(), "answer") == (200, "accepted")


async def test_a_worker_is_asked_to_come_again_soon_while_a_timer_waits(ringing: Shard) -> None:
    await ringing.publish(*e.accept("phone"))
    ringing.now += 1_000
    fired = await ringing.committer.fire()
    assert (fired.count, fired.next_due) == (0, ringing.now + AGAIN)


async def test_a_given_patience_is_kept(ringing: Shard) -> None:
    await ringing.publish(*e.accept("phone"))
    ringing.now += 1_000
    assert (await ringing.committer.fire(patience=500)).count == 0
    ringing.now += 499
    assert (await ringing.committer.fire(patience=500)).count == 0
    ringing.now += 1
    assert (await ringing.committer.fire(patience=500)).count == 1


async def test_what_is_published_after_the_deadline_holds_nothing_up(ringing: Shard) -> None:
    ringing.now += 1_001
    await _poison(ringing)
    await _unread(ringing, *e.accept("phone"))
    assert e.outcome(await ringing.fire(), "inviteRejected") == (408, "timeout")


async def test_what_is_published_in_the_millisecond_of_the_deadline_is_in_time(ringing: Shard) -> None:
    ringing.now += 1_000
    await _unread(ringing, *e.accept("phone"))
    assert await ringing.fire() == []


async def test_an_entry_from_the_future_holds_nothing_up(ringing: Shard) -> None:
    await ringing.publish(*e.invitations("tablet"), entry=FUTURE)
    assert e.outcome(await e.later(ringing, 1_000), "inviteRejected") == (408, "timeout")


async def test_of_two_timers_only_the_one_after_the_event_waits(ringing: Shard) -> None:
    await ringing.event(*e.invite(invite_id="2", expires=1_500))
    ringing.now += 1_200
    await _poison(ringing)
    told = await e.later(ringing, 300)
    assert [rejected.payload["inviteId"] for rejected in of_type(told, "inviteRejected")] == ["1"]
    told = await e.patience_ends(ringing)
    assert [rejected.payload["inviteId"] for rejected in of_type(told, "inviteRejected")] == ["2"]


async def test_an_event_that_stays_pending_delays_each_timer_by_the_patience_at_most(ringing: Shard) -> None:
    await _poison(ringing)
    await ringing.event(*e.invite(invite_id="2", expires=4_000))
    ended: dict[str, int] = {}
    began = ringing.now
    for _ in range(13):
        for rejected in of_type(await e.later(ringing, 1_000), "inviteRejected"):
            ended[rejected.payload["inviteId"]] = ringing.now - began
    assert ended == {"1": 7_000, "2": 10_000}


async def test_a_lost_candidate_that_was_back_in_time_is_not_out(make_shard: MakeShard) -> None:
    shard = await make_shard(e.GRACE)
    await e.bob_rings(shard, "phone")
    await shard.event(*e.disconnected("phone"))
    back = await shard.publish(*e.registered("phone"))
    assert await e.later(shard, 5_000) == []
    await shard.settle(back)
    assert e.types(await shard.told()) == ["invitation"]
    assert await e.states(shard) == {"phone": "CALLED"}


async def test_a_caller_that_was_back_in_time_keeps_its_calls(shard: Shard) -> None:
    await e.in_order(shard, e.registered("a", "alice"), e.registered("phone"), e.invite())
    await shard.event(*e.disconnected("a", "alice"))
    back = await shard.publish(*e.registered("a", "alice"))
    assert await e.later(shard, 10_000) == []
    await shard.settle(back)
    assert await e.patience_ends(shard) == []
    assert (await shard.invite(e.REF))["state"] == "PENDING"


async def test_a_registration_that_was_repeated_in_time_does_not_lapse(shard: Shard) -> None:
    await e.in_order(shard, e.registered("phone", expires=10_000), e.invite())
    shard.now += 9_000
    repeat = await shard.publish(*e.registered("phone", expires=10_000))
    assert await e.later(shard, 1_000) == []
    await shard.settle(repeat)
    assert await e.later(shard, 0) == []
    assert await e.states(shard) == {"phone": "CALLED"}
