"""Groups: whose devices ring, what each member is told, and what the caller is not."""

from collections.abc import Callable

import pytest

from invites.store.settings import Settings
from tests.support import events as e
from tests.support import groups
from tests.support.shard import Json, MakeShard, Shard, of_type, peer

BOBS, CAROLS = "alice|1|bob", "alice|1|carol"
BUSY = (486, "busy")


# -- whose devices ring


@pytest.mark.one_shard
async def test_the_devices_of_all_members_ring_at_once(home: Shard) -> None:
    told = await home.event(*e.invite(to="team", context={"n": 1}))

    assert e.types(told) == ["invitation", "invitation", "inviteProgress"]
    assert groups.rung(told) == ["bob-desk", "bob-phone", "carol-phone"]
    by_member = {each.payload["to"]: each for each in of_type(told, "invitation")}
    assert sorted(by_member["bob"].peers) == ["bob-desk", "bob-phone"]
    assert by_member["bob"].users == ["bob"]
    for each in by_member.values():
        payload = each.payload
        assert (payload["group"], payload["from"], payload["inviteId"]) == ("team", "alice", "1")
        assert (payload["room"], payload["context"], payload["resumed"]) == ("r", {"n": 1}, False)
        assert payload["inviteRequest"] is False
        assert payload["expiresIn"] == 60_000


@pytest.mark.one_shard
async def test_the_caller_hears_how_many_devices_and_nothing_of_who_they_are(home: Shard) -> None:
    told = await home.event(*e.invite(to="team", transaction="t"))
    progress = e.one(told, "inviteProgress")
    assert progress.peers == ["a"]
    expected = {"inviteId": "1", "from": "alice", "to": "team", "code": 100, "candidates": 3}
    assert progress.payload == expected | {"ringing": 0, "pushed": 0, "transaction": "t"}


async def test_a_leg_is_an_invite_of_its_own(called: Shard) -> None:
    leg = await called.invite(BOBS)
    assert (leg["state"], leg["to"], leg["group"], leg["room"]) == ("PENDING", "bob", "team", "r")
    assert set(await called.candidates(BOBS)) == {"bob-desk", "bob-phone"}
    assert await called.client.smembers(called.keys.pending("bob")) == {BOBS.encode()}
    group = await called.invite(groups.TEAM)
    assert (group["state"], group["to"], group["group"]) == ("PENDING", "team", "team")


async def test_a_member_sees_its_leg_among_what_rings(called: Shard) -> None:
    told = await called.event(*e.invitations("bob-phone"))
    [found] = e.one(told, "answer").payload["invitations"]
    assert (found["to"], found["group"], found["state"]) == ("bob", "team", "PENDING")


async def test_the_caller_is_left_out(home: Shard) -> None:
    groups.team(home, "alice", "bob")
    await groups.at_home(home, "alice-desk")
    told = await home.event(*e.invite(to="team"))
    assert groups.rung(told) == ["bob-desk", "bob-phone"]
    assert set(await groups.legs(home)) == {"bob"}


async def test_a_member_that_is_named_twice_is_called_once(home: Shard) -> None:
    groups.team(home, "bob", "carol", "bob")
    told = await home.event(*e.invite(to="team"))
    assert groups.rung(told) == ["bob-desk", "bob-phone", "carol-phone"]


async def test_members_who_are_in_the_room_are_left_out(home: Shard) -> None:
    await e.in_order(home, e.joined("bob"), e.joined("carol", room="elsewhere"))
    told = await home.event(*e.invite(to="team"))
    assert groups.rung(told) == ["carol-phone"]
    assert set(await groups.legs(home)) == {"carol", "dave"}


@pytest.mark.parametrize("over", [False, True])
async def test_a_member_for_whom_the_ref_exists_is_left_out(home: Shard, over: bool) -> None:
    await home.event(*e.invite(to="bob"))
    if over:
        await home.event(*e.accept("bob-phone"))
    assert groups.rung(await home.event(*e.invite(to="team"))) == ["carol-phone"]
    assert set(await groups.legs(home)) == {"carol", "dave"}
    told = await home.event(*e.decline("carol-phone", "carol"))
    assert groups.record_of(told) == {"carol": 603, "dave": 480}
    assert e.outcome(told, "inviteRejected") == (603, "declined")


async def test_a_group_whose_members_are_all_left_out_cannot_be_reached(home: Shard) -> None:
    groups.team(home, "alice", "bob")
    await e.in_order(home, e.joined("bob"))
    told = await home.event(*e.invite(to="team"))
    assert e.outcome(told, "inviteRejected") == (480, "unreachable")
    assert groups.record_of(told) == {}


async def test_a_group_whose_members_all_have_such_an_invite_cannot_be_reached(home: Shard) -> None:
    groups.team(home, "bob")
    await home.event(*e.invite(to="bob"))
    told = await home.event(*e.invite(to="team"))
    # If the member is in another shard than the group, the caller hears that it is called first.
    assert {*e.types(told)} - {"inviteProgress"} == {"INVITE_COMPLETED", "inviteRejected"}
    assert e.outcome(told, "inviteRejected") == (480, "unreachable")
    assert groups.record_of(told) == {}


async def test_a_group_of_nobody_cannot_be_reached(home: Shard) -> None:
    groups.team(home)
    assert e.outcome(await home.event(*e.invite(to="team")), "inviteRejected") == (480, "unreachable")


@pytest.mark.one_shard
async def test_a_group_of_which_nobody_is_there_ends_at_once(home: Shard) -> None:
    groups.team(home, "dave", "erin")
    told = await home.event(*e.invite(to="team"))
    assert e.types(told) == ["INVITE_COMPLETED", "callMissed", "callMissed", "inviteRejected"]
    assert e.outcome(told, "inviteRejected") == (480, "unreachable")
    assert groups.record_of(told) == {"dave": 480, "erin": 480}


async def test_a_group_of_which_nobody_could_be_asked_for_is_an_internal_error(home: Shard) -> None:
    groups.team(home, "dave", dave={"failed": True})
    assert e.outcome(await home.event(*e.invite(to="team")), "inviteRejected") == (500, "internal")


@pytest.mark.one_shard
async def test_a_group_that_is_too_large_calls_nobody_and_says_why(make_shard: MakeShard) -> None:
    shard = await make_shard(Settings(look_up="all", max_group_size=2))
    groups.team(shard, "bob", "carol", "dave")
    await groups.at_home(shard, "bob-phone")
    told = await shard.event(*e.invite(to="team"))

    assert e.types(told) == ["INVITE_COMPLETED", "inviteRejected"]
    assert e.outcome(told, "inviteRejected") == (403, "too_many")
    assert groups.record_of(told) == {}
    assert ("group_too_large", "team", "3", "2") in shard.outcomes[0].facts


async def test_a_group_of_just_that_size_is_called(make_shard: MakeShard) -> None:
    shard = await make_shard(Settings(look_up="all", max_group_size=2))
    groups.team(shard, "bob", "carol")
    await groups.at_home(shard, "bob-phone")
    assert groups.rung(await shard.event(*e.invite(to="team"))) == ["bob-phone"]


async def test_a_user_with_the_name_of_a_group_is_called_as_a_user(home: Shard) -> None:
    await home.event(*e.registered("t", "team"))
    assert groups.rung(await home.event(*e.invite(to="team"))) == ["t"]


async def test_a_device_that_takes_the_groups_name_does_not_become_a_candidate_of_the_group(
    called: Shard,
) -> None:
    assert e.types(await called.event(*e.registered("t", "team"))) == []


@pytest.mark.parametrize("named", [{}, {"to": "team"}], ids=["implied", "named"])
@pytest.mark.parametrize("answer", [e.decline, e.accept, e.ringing])
async def test_a_user_with_the_groups_id_is_no_callee_of_it(
    called: Shard, answer: Callable[..., e.Published], named: Json
) -> None:
    told = await called.event(*answer("x", "team", **named))
    assert e.types(told) == ["answer"]
    assert e.outcome(told, "answer") == (404, "not_found")
    assert (await called.invite(groups.TEAM))["state"] == "PENDING"
    assert await called.candidates(groups.TEAM) == {}


async def test_a_user_with_the_groups_id_is_not_shown_its_calls(called: Shard) -> None:
    told = await called.event(*e.invitations("x", "team"))
    assert e.one(told, "answer").payload["invitations"] == []


async def test_a_member_with_the_groups_id_is_left_out(home: Shard) -> None:
    groups.team(home, "team", "bob")
    told = await home.event(*e.invite(to="team"))
    assert groups.rung(told) == ["bob-desk", "bob-phone"]
    assert set(await groups.legs(home)) == {"bob"}


async def test_a_caller_with_the_groups_id_takes_its_call_back_by_a_decline(home: Shard) -> None:
    await home.event(*e.invite(by=peer("t1", "team"), to="team"))
    told = await home.event(*e.decline("t2", "team", from_="team", to="team"))
    assert e.outcome(told, "answer") == (200, "cancelled")


@pytest.mark.parametrize("over", [False, True])
async def test_an_invite_to_a_member_with_the_id_of_the_group_call_is_refused(
    called: Shard, over: bool
) -> None:
    if over:
        await called.event(*e.decline("bob-phone"))
    leg = await called.invite(BOBS)
    told = await called.event(*e.invite(context={"n": 2}, transaction="t"))
    assert e.types(told) == ["inviteRejected"]
    rejected = e.one(told, "inviteRejected")
    assert rejected.peers == ["a"]
    assert rejected.payload == {
        "inviteId": "1", "from": "alice", "to": "bob", "code": 400, "reason": "invalid",
    }  # fmt: skip
    assert await called.invite(BOBS) == leg
    assert (await called.invite(groups.TEAM))["state"] == "PENDING"


async def test_peers_that_are_connected_elsewhere_ring_once(home: Shard) -> None:
    groups.team(home, "bob", bob={"peers": ("bob-phone", "bob-far")})
    told = await home.event(*e.invite(to="team"))
    assert e.one(told, "invitation").peers.count("bob-phone") == 1
    assert groups.rung(told) == ["bob-desk", "bob-far", "bob-phone"]


async def test_a_member_with_nothing_else_is_called_over_the_phone_network(home: Shard) -> None:
    await home.event(*e.trunk("gw", match="34.*"))
    groups.team(home, "bob", "3460")
    told = await home.event(*e.invite(to="team"))
    assert groups.rung(told) == ["bob-desk", "bob-phone", "gw"]
    told = await home.event(*e.accept("gw", "sip", to="3460"))
    assert e.one(told, "inviteAccepted").payload["whoAccepted"] == "3460"
    assert e.outcome(told, "answer") == (200, "accepted")
    assert groups.stopped(told) == ["bob-desk", "bob-phone"]


# -- what the caller hears meanwhile


async def test_the_first_device_that_rings_makes_it_180(called: Shard) -> None:
    told = await called.event(*e.ringing("bob-phone"))
    payload = e.one(told, "inviteProgress").payload
    assert (payload["to"], payload["code"], payload["candidates"], payload["ringing"]) == ("team", 180, 3, 1)
    assert e.types(await called.event(*e.ringing("carol-phone", "carol"))) == []


async def test_a_repeat_of_the_invite_tells_the_present_progress(called: Shard) -> None:
    await e.in_order(called, e.ringing("bob-phone"), e.ringing("carol-phone", "carol"))
    await e.in_order(called, e.decline("bob-phone", errorCode=486), e.registered("bob-tablet"))
    told = await called.event(*e.invite(to="team"))
    payload = e.one(told, "inviteProgress").payload
    assert (payload["code"], payload["candidates"], payload["ringing"]) == (180, 3, 1)
    assert e.types(told) == ["inviteProgress"]


@pytest.mark.parametrize("code", [486, 480, 603])
async def test_a_members_decline_is_not_told_while_others_ring(called: Shard, code: int) -> None:
    told = await e.in_order(
        called, e.decline("bob-phone", errorCode=code), e.decline("bob-desk", errorCode=code)
    )
    assert set(e.types(told)) <= {"answer", "invitationCancel"}
    assert (await called.invite(groups.TEAM))["state"] == "PENDING"
    assert (await called.invite(BOBS))["state"] == "DECLINED"
    assert (await called.invite(CAROLS))["state"] == "PENDING"


async def test_a_members_603_stops_that_members_devices_only(called: Shard) -> None:
    told = await called.event(*e.decline("bob-phone"))
    assert e.types(told) == ["answer", "invitationCancel"]
    assert groups.stopped(told) == ["bob-desk"]
    assert e.outcome(told, "invitationCancel") == (603, "declined_elsewhere")


@pytest.mark.parametrize(
    ("bobs", "carols", "best"),
    [
        (486, 603, (603, "declined")),
        (603, 486, (603, "declined")),
        (486, 480, BUSY),
        (503, 486, BUSY),
        (503, 404, (404, "declined")),
        (503, 500, (480, "unreachable")),
        (600, 603, (600, "declined")),
    ],
)
async def test_all_legs_over_is_the_best_response(
    called: Shard, bobs: int, carols: int, best: tuple[int, str]
) -> None:
    told = await e.in_order(
        called,
        e.decline("bob-phone", errorCode=bobs),
        e.decline("bob-desk", errorCode=bobs),
        e.decline("carol-phone", "carol", errorCode=carols),
    )
    assert e.outcome(told, "inviteRejected") == best
    assert groups.record_of(told) == {"bob": bobs, "carol": carols, "dave": 480}
    record = e.one(told, "INVITE_COMPLETED").payload
    assert (record["state"], record["error"]) == ("DECLINED", best[0])


async def test_members_that_lose_all_their_devices_are_out(called: Shard) -> None:
    told = await e.in_order(
        called,
        e.disconnected("bob-phone"),
        e.disconnected("bob-desk"),
        e.disconnected("carol-phone", "carol"),
    )
    assert e.types(told) == ["INVITE_COMPLETED", *["callMissed"] * 3, "inviteRejected"]
    assert e.outcome(told, "inviteRejected") == (480, "unreachable")


# -- devices that come, go, and are busy


async def test_a_members_device_that_comes_late_rings_with_the_time_that_is_left(called: Shard) -> None:
    called.now += 20_000
    told = await called.event(*e.registered("carol-desk", "carol"))
    payload = e.one(told, "invitation").payload
    assert groups.rung(told) == ["carol-desk"]
    assert (payload["to"], payload["group"], payload["expiresIn"]) == ("carol", "team", 40_000)
    assert payload["resumed"] is False
    assert groups.stopped(await called.event(*e.accept("bob-phone"))) == [
        "bob-desk",
        "carol-desk",
        "carol-phone",
    ]


async def test_a_device_that_comes_after_the_end_is_not_rung(called: Shard) -> None:
    await called.event(*e.accept("bob-phone"))
    assert e.types(await called.event(*e.registered("carol-desk", "carol"))) == []


async def test_a_device_that_was_away_at_the_end_hears_it_once(home: Shard) -> None:
    await e.in_order(home, e.invite(to="team"), e.disconnected("carol-phone", "carol"), e.accept("bob-phone"))
    told = await home.event(*e.registered("carol-phone", "carol"))
    assert e.types(told) == ["invitationCancel"]
    assert e.outcome(told, "invitationCancel") == (480, "unreachable")
    assert e.types(await home.event(*e.registered("carol-phone", "carol", session="s"))) == []


async def test_a_device_within_its_grace_hears_who_accepted(make_shard: MakeShard) -> None:
    shard = await make_shard(Settings(look_up="all", remove_after=10_000))
    groups.team(shard, "bob", "carol")
    await groups.at_home(shard, "bob-phone", "carol-phone")
    await e.in_order(shard, e.invite(to="team"), e.disconnected("carol-phone", "carol"))
    told = await shard.event(*e.accept("bob-phone"))
    assert groups.stopped(told) == ["carol-phone"]
    told = await shard.event(*e.registered("carol-phone", "carol"))
    assert e.outcome(told, "invitationCancel") == (200, "accepted_elsewhere")
    assert e.one(told, "invitationCancel").payload["whoAccepted"] == "bob"


@pytest.fixture
async def one_device_team(make_shard: MakeShard) -> Shard:
    """Alice calls the team and Zoe calls Bob, where a user answers one call at a time."""
    shard = await make_shard(Settings(look_up="all", only_one_device_with_invitations=True))
    groups.team(shard, "bob", "carol")
    await groups.at_home(shard, "bob-phone", "bob-desk", "carol-phone")
    await e.in_order(shard, e.invite(to="team"), e.invite(peer("z", "zoe")))
    return shard


async def test_who_accepts_a_leg_is_busy_for_other_calls(one_device_team: Shard) -> None:
    told = await one_device_team.event(*e.accept("bob-phone"))
    [cancel] = [each for each in of_type(told, "invitationCancel") if each.payload["from"] == "zoe"]
    assert (cancel.peers, cancel.payload["reason"]) == (["bob-desk"], "busy_elsewhere")


async def test_who_accepts_another_call_is_busy_for_its_leg(one_device_team: Shard) -> None:
    told = await one_device_team.event(*e.accept("bob-phone", from_="zoe"))
    [cancel] = [each for each in of_type(told, "invitationCancel") if each.payload["from"] == "alice"]
    assert (cancel.peers, cancel.payload["reason"]) == (["bob-desk"], "busy_elsewhere")
    assert (await one_device_team.invite(BOBS))["state"] == "PENDING"


async def test_a_leg_that_is_left_without_devices_is_busy(one_device_team: Shard) -> None:
    told = await one_device_team.event(*e.accept("bob-new", from_="zoe"))
    assert (await one_device_team.invite(BOBS))["state"] == "DECLINED"
    assert (await one_device_team.invite(groups.TEAM))["state"] == "PENDING"
    told = await one_device_team.event(*e.decline("carol-phone", "carol", errorCode=480))
    assert e.outcome(told, "inviteRejected") == BUSY
    assert groups.record_of(told) == {"bob": 486, "carol": 480}


async def test_news_reaches_the_devices_of_all_legs(called: Shard) -> None:
    told = await called.event(*e.invite(to="team", context="new"))
    assert e.types(told) == ["invitation", "invitation", "inviteProgress"]
    assert groups.rung(told) == ["bob-desk", "bob-phone", "carol-phone"]
    assert {each.payload["context"] for each in of_type(told, "invitation")} == {"new"}
    assert {each.payload["resumed"] for each in of_type(told, "invitation")} == {True}
    assert e.types(await called.event(*e.invite(to="team", context="new"))) == ["inviteProgress"]


# -- requests for an invite


async def test_a_request_rings_the_members_as_a_request(home: Shard) -> None:
    told = await home.event(*e.request(to="team"))
    assert groups.rung(told) == ["bob-desk", "bob-phone", "carol-phone"]
    assert {each.payload["inviteRequest"] for each in of_type(told, "invitation")} == {True}
    assert "room" not in of_type(told, "invitation")[0].payload


async def test_the_invite_of_the_member_that_accepted_rings_the_peer_that_asked(home: Shard) -> None:
    told = await e.in_order(home, e.request(to="team"), e.accept("bob-phone"))
    assert e.one(told, "inviteAccepted").payload["whoAccepted"] == "bob"
    told = await home.event(*e.invite(peer("bob-phone", "bob"), to="alice", invite_id="2", requestId="1"))
    assert groups.rung(told) == ["a"]
    told = await home.event(*e.invite(peer("c", "carol"), to="alice", invite_id="2", requestId="1"))
    assert e.outcome(told, "inviteRejected") == (404, "not_found")


async def test_a_member_rings_on_its_devices_and_its_number(home: Shard) -> None:
    groups.team(home, "bob", "carol", bob={"phone": True})
    told = await e.in_order(home, e.trunk("t"), e.invite(to="team"))
    assert groups.rung(told) == ["bob-desk", "bob-phone", "carol-phone", "t"]
