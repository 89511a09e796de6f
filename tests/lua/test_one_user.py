"""A peer id belongs to one user, and a device has one connection: invitations of the earlier one stop."""

import pytest

from tests.support import events as e
from tests.support.shard import MakeShard, Shard, of_type, peer


async def test_a_peer_id_that_another_user_registers_rings_no_more_for_the_first(shard: Shard) -> None:
    await e.bob_rings(shard, "p", "tablet")
    told = await shard.event(*e.registered("p", "carol"))
    assert e.outcome(told, "invitationCancel") == (480, "unreachable")
    assert (e.recipients(told, "invitationCancel"), e.one(told, "invitationCancel").users) == ({"p"}, ["bob"])
    assert await e.states(shard) == {"p": "GONE", "tablet": "CALLED"}
    assert set(await shard.hash(shard.keys.registry("bob"))) == {"tablet"}
    assert set(await shard.hash(shard.keys.registry("carol"))) == {"p"}


async def test_there_is_no_grace_for_it(make_shard: MakeShard) -> None:
    shard = await make_shard(e.GRACE)
    await e.bob_rings(shard, "p")
    told = await shard.event(*e.registered("p", "carol"))
    assert e.outcome(told, "inviteRejected") == (480, "unreachable")
    assert e.types(told) == ["INVITE_COMPLETED", "callMissed", "invitationCancel", "inviteRejected"]


async def test_the_calls_of_the_first_user_end_at_once(shard: Shard) -> None:
    await e.in_order(shard, e.registered("a", "alice"), e.registered("phone"), e.invite())
    told = await shard.event(*e.registered("a", "carol")) + await shard.fire()
    assert e.outcome(told, "inviteRejected") == (487, "caller_gone")


async def test_the_later_entry_has_the_peer_id_whatever_comes_first(shard: Shard) -> None:
    events = [e.registered("p", "bob"), e.registered("p", "carol")]
    await e.arriving(shard, events, (1, 0))
    assert set(await shard.hash(shard.keys.registry("bob"))) == set()
    assert set(await shard.hash(shard.keys.registry("carol"))) == {"p"}


async def test_a_late_registration_does_not_take_it_from_a_user_that_has_gone(shard: Shard) -> None:
    events = [e.registered("p", "bob"), e.registered("p", "carol"), e.disconnected("p", "carol")]
    await e.arriving(shard, events, (1, 2, 0))
    assert set(await shard.hash(shard.keys.registry("bob"))) == set()


async def test_a_repeat_takes_the_peer_id_back(shard: Shard) -> None:
    events = [e.registered("p", "bob"), e.registered("p", "carol"), e.registered("p", "bob")]
    await e.arriving(shard, events, (0, 2, 1))
    assert set(await shard.hash(shard.keys.registry("bob"))) == {"p"}
    assert set(await shard.hash(shard.keys.registry("carol"))) == set()


async def test_who_has_gone_takes_nothing_with_it(shard: Shard) -> None:
    await e.in_order(shard, e.registered("p", "bob"), e.registered("p", "carol"), e.disconnected("p", "bob"))
    assert set(await shard.hash(shard.keys.registry("carol"))) == {"p"}


async def test_a_connection_that_another_one_of_its_device_replaces_stops_ringing_first(shard: Shard) -> None:
    await e.in_order(shard, e.registered("p1", device="phone"), e.invite(), e.ringing("p1"))
    told = await shard.event(*e.registered("p2", device="phone"))
    assert [(each.type, each.peers) for each in told] == [
        ("invitationCancel", ["p1"]),
        ("invitation", ["p2"]),
    ]
    assert e.outcome(told, "invitationCancel") == (480, "taken_over")
    told = await shard.event(*e.accept("p2"))
    assert of_type(told, "invitationCancel") == []


@pytest.mark.parametrize(
    "before", [e.disconnected("p1"), e.decline("p1", errorCode=486)], ids=["lost", "declined"]
)
async def test_a_connection_that_does_not_ring_hears_nothing(
    make_shard: MakeShard, before: e.Published
) -> None:
    shard = await make_shard(e.GRACE)
    await e.in_order(shard, e.registered("p1", device="phone"), e.registered("tablet"), e.invite(), before)
    told = await shard.event(*e.registered("p2", device="phone"))
    assert of_type(told, "invitationCancel") == []


async def test_each_call_that_rings_there_is_taken_over(shard: Shard) -> None:
    await shard.event(*e.registered("p1", device="phone"))
    for number in range(12):
        await shard.event(*e.invite(by=peer("c", f"user{number}")))
    told = await shard.event(*e.registered("p2", device="phone")) + await shard.fire()
    assert [each.payload["reason"] for each in of_type(told, "invitationCancel")] == ["taken_over"] * 12
    assert all(each.peers == ["p2"] for each in of_type(told, "invitation"))
    assert len(of_type(told, "invitation")) == 12
