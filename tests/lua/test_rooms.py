"""joined, left, roomClosed: who is told, and the effects on invites into the room."""

import pytest

from invites.store.settings import Settings
from tests.support import events as e
from tests.support.shard import MakeShard, Shard, of_type

PAGE = 50


async def test_joining_is_told_to_the_rooms_other_users(shard: Shard) -> None:
    await e.in_order(shard, e.joined("alice"), e.joined("bob"))
    told = await shard.event(*e.joined("carol"))

    assert e.types(told) == ["userJoined"]
    notification = e.one(told, "userJoined")
    assert (notification.peers, set(notification.users)) == ([], {"alice", "bob"})
    assert notification.payload == {"userId": "carol", "roomId": "r"}


async def test_leaving_is_told_to_those_who_stay(shard: Shard) -> None:
    await e.in_order(shard, e.joined("alice"), e.joined("bob"), e.joined("carol"))
    told = await shard.event(*e.left("alice"))

    assert e.types(told) == ["userLeft"]
    notification = e.one(told, "userLeft")
    assert (notification.peers, set(notification.users)) == ([], {"bob", "carol"})
    assert notification.payload == {"userId": "alice", "roomId": "r"}


async def test_nobody_else_there_nobody_told(shard: Shard) -> None:
    assert await e.in_order(shard, e.joined("alice"), e.left("alice")) == []


async def test_repeats_are_not_told(shard: Shard) -> None:
    await e.in_order(shard, e.joined("alice"), e.joined("bob"))
    assert await shard.event(*e.joined("bob")) == []
    await shard.event(*e.left("bob"))
    assert await shard.event(*e.left("bob")) == []


async def test_the_leaving_of_somebody_who_was_not_there_is_not_told(shard: Shard) -> None:
    await shard.event(*e.joined("alice"))
    assert await shard.event(*e.left("bob")) == []


async def test_an_earlier_leaving_that_is_settled_late_does_not_make_way_for_a_join_between(
    shard: Shard,
) -> None:
    await e.in_order(shard, e.joined("alice"), e.joined("bob"))
    await e.arriving(shard, [e.left("bob"), e.joined("bob"), e.left("bob")], [2, 0, 1])
    assert set(await shard.hash(shard.keys.room_members("r"))) == {"alice"}


async def test_rooms_do_not_hear_of_each_other(shard: Shard) -> None:
    await shard.event(*e.joined("alice", "other"))
    assert await shard.event(*e.joined("bob")) == []


@pytest.mark.one_shard
@pytest.mark.parametrize(("event", "fact"), [(e.joined("bob"), "joined"), (e.left("bob"), "left")])
async def test_joining_and_leaving_are_reported_even_if_nobody_is_there(
    shard: Shard, event: e.Published, fact: str
) -> None:
    await shard.event(*event)
    assert (fact, "bob", "r") in shard.outcomes[0].facts


async def test_the_members_stand_there_since_when_they_joined(shard: Shard) -> None:
    await shard.event(*e.joined("alice"))
    since = (await shard.hash(shard.keys.room_members("r")))["alice"]
    assert since.split("-")[0] == str(shard.now)


async def test_closing_a_room_ends_all_its_invites(beside: Shard) -> None:
    await e.bob_rings(beside, "phone")
    await e.in_order(
        beside, e.registered("c", "carol"), e.invite(to="carol"), e.invite(invite_id="2", room="other")
    )
    told = await beside.event(*e.room_closed())

    assert {found.payload["to"] for found in of_type(told, "inviteRejected")} == {"bob", "carol"}
    for kind in ("invitationCancel", "inviteRejected"):
        words = {(found.payload["code"], found.payload["reason"]) for found in of_type(told, kind)}
        assert words == {(487, "room_closed")}
    for record in of_type(told, "INVITE_COMPLETED"):
        assert (record.payload["state"], record.payload["error"]) == ("DECLINED_BY_CREATOR", 487)
    assert e.one(told, "roomCleaned").payload == {"roomId": "r", "invites": 2}
    assert (e.one(told, "roomCleaned").peers, e.one(told, "roomCleaned").users) == ([], [])
    assert (await beside.invite("alice|2|bob"))["state"] == "PENDING"


async def test_closing_a_room_cleans_all_that_is_kept_for_it(shard: Shard) -> None:
    await e.bob_rings(shard, "phone")
    await e.in_order(shard, e.joined("alice"), e.joined("bob"), e.room_closed())
    assert not await shard.client.exists(shard.keys.room_members("r"), shard.keys.room_invites("r"))


async def test_closing_an_unknown_room_is_told_to_services_all_the_same(shard: Shard) -> None:
    told = await shard.event(*e.room_closed("never-seen"))
    assert e.types(told) == ["roomCleaned"]
    assert e.one(told, "roomCleaned").payload == {"roomId": "never-seen", "invites": 0}


async def test_an_invite_that_is_over_is_not_counted(shard: Shard) -> None:
    await e.in_order(shard, e.registered("phone"), e.invite(), e.accept("phone"))
    told = await shard.event(*e.room_closed())
    assert e.types(told) == ["roomCleaned"]
    assert e.one(told, "roomCleaned").payload["invites"] == 0


async def test_a_room_may_be_used_again_after_its_close(shard: Shard) -> None:
    await e.in_order(shard, e.registered("phone"), e.room_closed(), e.joined("alice"))
    assert e.recipients(await shard.event(*e.invite()), "invitation") == {"phone"}


@pytest.fixture
async def busy(make_shard: MakeShard, request: pytest.FixtureRequest) -> Shard:
    """A shard without the limit of invites to one callee."""
    if "fakeredis" in request.node.name:
        pytest.skip("fakeredis makes no copy of a key, but a second name")
    return await make_shard(Settings(per_pair=0, redial="ring"))


@pytest.mark.parametrize("invites", [PAGE - 1, PAGE, PAGE + 1, 2 * PAGE + 20])
async def test_a_room_with_many_invites_is_cleaned_page_by_page(busy: Shard, invites: int) -> None:
    await busy.event(*e.registered("phone"))
    for number in range(invites):
        await busy.event(*e.invite(invite_id=str(number)))
    told = await busy.event(*e.room_closed()) + await busy.fire()

    assert len(of_type(told, "inviteRejected")) == len(of_type(told, "INVITE_COMPLETED")) == invites
    assert len({found.payload["inviteId"] for found in of_type(told, "inviteRejected")}) == invites
    assert e.one(told, "roomCleaned").payload == {"roomId": "r", "invites": invites}
    assert not await busy.client.exists(busy.keys.room_invites("r"))
    assert not await busy.client.exists(busy.keys.pending("bob"))
    assert await busy.client.zcard(busy.keys.timers) == 0


async def test_what_is_invited_while_a_room_is_cleaned_rings(busy: Shard) -> None:
    await busy.event(*e.registered("phone"))
    for number in range(PAGE + 1):
        await busy.event(*e.invite(invite_id=str(number)))
    told = await e.in_order(busy, e.room_closed(), e.invite(invite_id="new"))
    told += await busy.fire()
    assert e.one(told, "roomCleaned").payload["invites"] == PAGE + 1
    assert (await busy.invite("alice|new|bob"))["state"] == "PENDING"


async def test_a_second_close_while_a_room_is_cleaned_ends_each_invite_once(busy: Shard) -> None:
    await busy.event(*e.registered("phone"))
    for number in range(2 * PAGE + 1):
        await busy.event(*e.invite(invite_id=str(number)))
    told = await e.in_order(busy, e.room_closed(), e.room_closed())
    told += await busy.fire()
    assert len(of_type(told, "INVITE_COMPLETED")) == 2 * PAGE + 1
    assert sum(found.payload["invites"] for found in of_type(told, "roomCleaned")) == 2 * PAGE + 1


async def test_an_ended_invite_leaves_its_room(shard: Shard) -> None:
    await e.bob_rings(shard, "phone")
    assert await shard.client.zrange(shard.keys.room_invites("r"), 0, -1) == [e.REF.encode()]
    await shard.event(*e.accept("phone"))
    assert not await shard.client.exists(shard.keys.room_invites("r"))


async def test_odd_room_ids_survive_the_paging(busy: Shard) -> None:
    await busy.event(*e.registered("phone"))
    for number in range(PAGE + 1):
        await busy.event(*e.invite(invite_id=str(number), room='%d-"1"'))
    told = await e.in_order(busy, e.room_closed('%d-"1"'))
    told += await busy.fire()
    assert e.one(told, "roomCleaned").payload == {"roomId": '%d-"1"', "invites": PAGE + 1}
    assert await busy.dead() == []
    assert {e.outcome([one], "inviteRejected") for one in of_type(told, "inviteRejected")} == {
        (487, "room_closed")
    }
