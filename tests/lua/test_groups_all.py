"""Calls to groups in which each member may accept (`ringMode` all): for adding people to a conference."""

import pytest

from tests.support import events as e
from tests.support import groups
from tests.support.shard import MakeShard, Notification, Shard, of_type, peer


@pytest.fixture
async def conference(home: Shard) -> Shard:
    """Alice calls Bob (two devices) and Carol, and each may accept."""
    await home.event(*e.invite(to="team", ringMode="all"))
    return home


def ends(told: list[Notification]) -> tuple[str, int, str | None]:
    record = e.one(told, "INVITE_COMPLETED").payload
    return record["state"], record["error"], record["whoAccepted"]


async def test_each_accept_is_told_and_cancels_the_members_other_devices_alone(conference: Shard) -> None:
    told = await conference.event(*e.accept("bob-phone", context="coming"))
    accepted = e.one(told, "inviteAccepted").payload
    assert (accepted["to"], accepted["whoAccepted"], accepted["peer"]) == ("team", "bob", "bob-phone")
    assert (accepted["code"], accepted["room"], accepted["context"]) == (200, "r", "coming")
    assert groups.stopped(told) == ["bob-desk"]
    assert e.outcome(told, "answer") == (200, "accepted")
    assert of_type(told, "INVITE_COMPLETED") == []
    assert (await conference.invite(groups.TEAM))["state"] == "PENDING"

    told = await conference.event(*e.accept("carol-phone", "carol"))
    accepted = e.one(told, "inviteAccepted").payload
    assert (accepted["whoAccepted"], accepted["peer"]) == ("carol", "carol-phone")
    assert "context" not in accepted
    assert ends(told) == ("ACCEPTED", 200, "bob")
    assert groups.record_of(told) == {"bob": 200, "carol": 200, "dave": 480}


async def test_a_repeat_after_the_end_hears_of_the_first(conference: Shard) -> None:
    await e.in_order(conference, e.accept("carol-phone", "carol"), e.accept("bob-phone", context=1))
    accepted = e.one(await conference.event(*e.invite(to="team")), "inviteAccepted").payload
    assert (accepted["whoAccepted"], accepted["peer"]) == ("carol", "carol-phone")
    assert "context" not in accepted


@pytest.mark.parametrize("code", [486, 603])
async def test_a_decline_of_the_last_one_ends_an_accepted_call(conference: Shard, code: int) -> None:
    await conference.event(*e.accept("bob-phone"))
    told = await conference.event(*e.decline("carol-phone", "carol", errorCode=code, context="no"))
    assert of_type(told, "inviteRejected") == of_type(told, "inviteAccepted") == []
    assert ends(told) == ("ACCEPTED", 200, "bob")
    assert groups.record_of(told) == {"bob": 200, "carol": code, "dave": 480}
    assert "context" not in e.one(await conference.event(*e.invite(to="team")), "inviteAccepted").payload


async def test_it_ends_as_any_group_call_if_nobody_accepts(conference: Shard) -> None:
    await conference.event(*e.decline("bob-phone"))
    told = await conference.event(*e.decline("carol-phone", "carol", errorCode=486))
    assert e.outcome(told, "inviteRejected") == (603, "declined")
    assert ends(told) == ("DECLINED", 603, None)


async def test_the_inviter_stops_it(conference: Shard) -> None:
    await conference.event(*e.accept("bob-phone"))
    told = await conference.event(*e.stop(callee="team"))
    assert e.outcome(told, "answer") == (200, "cancelled")
    assert e.outcome(told, "invitationCancel") == (487, "cancelled")
    assert groups.stopped(told) == ["carol-phone"]
    assert ends(told) == ("ACCEPTED", 200, "bob")
    assert groups.record_of(told) == {"bob": 200, "carol": 487, "dave": 480}
    assert e.outcome(await conference.event(*e.stop(callee="team")), "answer") == (200, "cancelled")
    assert e.outcome(await conference.event(*e.accept("carol-phone", "carol")), "answer") == (
        410,
        "cancelled",
    )


async def test_its_time_is_over(conference: Shard) -> None:
    await conference.event(*e.accept("bob-phone"))
    told = await e.later(conference, e.RING)
    assert e.outcome(told, "invitationCancel") == (408, "timeout")
    assert groups.stopped(told) == ["carol-phone"]
    assert ends(told) == ("ACCEPTED", 200, "bob")
    assert groups.record_of(told) == {"bob": 200, "carol": 408, "dave": 480}
    assert e.outcome(await conference.event(*e.stop(callee="team")), "answer") == (410, "accepted")


@pytest.mark.parametrize("end", [e.room_closed(), e.left("alice")], ids=["closed", "left"])
async def test_its_room_ends_it(conference: Shard, end: e.Published) -> None:
    await conference.event(*e.accept("bob-phone"))
    told = await conference.event(*end)
    assert groups.stopped(told) == ["carol-phone"]
    assert ends(told) == ("ACCEPTED", 200, "bob")


async def test_a_member_accepts_once(conference: Shard) -> None:
    await conference.event(*e.accept("bob-phone"))
    assert e.outcome(await conference.event(*e.accept("bob-phone")), "answer") == (200, "accepted")
    told = await conference.event(*e.accept("bob-desk"))
    assert e.outcome(told, "answer") == (410, "accepted")
    assert e.one(told, "answer").payload["whoAccepted"] == "bob"
    assert of_type(told, "inviteAccepted") == []


async def test_two_devices_of_a_member_accept_at_once(conference: Shard) -> None:
    events = [
        e.accept("bob-phone"),
        e.accept("bob-desk"),
        e.accept("bob-phone"),
        e.accept("carol-phone", "carol"),
    ]
    told = await e.arriving(conference, events, [0, 1, 2, 3])
    assert sorted(each.payload["code"] for each in of_type(told, "answer")) == [200, 200, 200, 410]
    assert len(of_type(told, "inviteAccepted")) == 2
    assert ends(told)[0] == "ACCEPTED"


async def test_the_counts_are_those_that_still_may_accept(conference: Shard) -> None:
    await conference.event(*e.accept("bob-phone"))
    told = await conference.event(*e.invite(to="team", transaction="t"))
    assert e.one(told, "inviteProgress").payload["candidates"] == 1


@pytest.mark.parametrize("mode", ["simultaneous", "sequential", "all"])
@pytest.mark.parametrize("is_sequential", [False, True])
async def test_the_mode_of_the_invite_counts_more_than_sippo_servers(
    make_shard: MakeShard, mode: str, is_sequential: bool
) -> None:
    shard = await make_shard(groups.GROUPS)
    groups.team(shard, "bob", "carol", sequential=is_sequential)
    await groups.at_home(shard, "bob-phone", "carol-phone")
    told = await shard.event(*e.invite(to="team", ringMode=mode))
    assert groups.rung(told) == (["bob-phone"] if mode == "sequential" else ["bob-phone", "carol-phone"])


async def test_a_call_to_a_user_has_no_mode(shard: Shard) -> None:
    await e.bob_rings(shard, "phone", "tablet", ringMode="all")
    told = await shard.event(*e.accept("phone"))
    assert groups.stopped(told) == ["tablet"]
    assert ends(told) == ("ACCEPTED", 200, "bob")


@pytest.mark.one_shard
async def test_a_large_conference_is_called_in_pages(make_shard: MakeShard) -> None:
    shard = await make_shard(groups.GROUPS)
    members = [f"m{number:02}" for number in range(50)]
    groups.team(shard, *members)
    await groups.at_home(shard, *(f"{member}-phone" for member in members))
    await shard.event(*e.invite(peer("a", "alice"), to="team", ringMode="all"))
    told = await shard.event(*e.accept("m00-phone", "m00"))
    assert of_type(told, "INVITE_COMPLETED") == []
    told = await shard.relay()
    assert len(groups.rung(told)) == 30
    told = await shard.event(*e.accept("m49-phone", "m49"))
    assert e.one(told, "inviteAccepted").payload["whoAccepted"] == "m49"
    told = await shard.event(*e.stop(callee="team"))
    told += await shard.relay()
    assert len(groups.stopped(told)) == 48
    record = groups.record_of(told)
    assert [member for member, code in record.items() if code == 200] == ["m00", "m49"]
