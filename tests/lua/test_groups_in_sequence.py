"""Groups that are called one member after the other."""

import pytest

from invites.store.settings import Settings
from tests.support import events as e
from tests.support import groups
from tests.support.shard import MakeShard, Shard, of_type, peer

STEP = 10_000
BOBS = "alice|1|bob"


@pytest.fixture
async def in_turn(make_shard: MakeShard) -> Shard:
    """A shard in which Bob, Carol and Dave are asked in this order."""
    shard = await make_shard(groups.GROUPS)
    groups.team(shard, "bob", "carol", "dave", sequential=True)
    await groups.at_home(shard, "bob-phone", "carol-phone", "dave-phone")
    return shard


@pytest.fixture
async def called_in_turn(in_turn: Shard) -> Shard:
    """The same, while Alice calls them."""
    await in_turn.event(*e.invite(to="team"))
    return in_turn


async def test_the_first_member_rings_alone(in_turn: Shard) -> None:
    told = await in_turn.event(*e.invite(to="team"))
    assert e.types(told) == ["invitation", "inviteProgress"]
    assert groups.rung(told) == ["bob-phone"]
    assert e.one(told, "inviteProgress").payload["candidates"] == 1
    assert await groups.legs(in_turn) == {"bob": "RINGING", "carol": "WAITING", "dave": "WAITING"}


async def test_each_step_stops_the_one_before_and_rings_the_next(called_in_turn: Shard) -> None:
    assert await e.later(called_in_turn, STEP - 1) == []
    told = await e.later(called_in_turn, 1)
    assert e.types(told) == ["invitation", "invitationCancel"]
    assert (groups.stopped(told), groups.rung(told)) == (["bob-phone"], ["carol-phone"])
    assert e.outcome(told, "invitationCancel") == (408, "timeout")
    assert e.one(told, "invitation").payload["expiresIn"] == 50_000

    told = await e.later(called_in_turn, STEP)
    assert (groups.stopped(told), groups.rung(told)) == (["carol-phone"], ["dave-phone"])


async def test_the_last_one_rings_until_the_time_out(called_in_turn: Shard) -> None:
    await e.later(called_in_turn, STEP)
    await e.later(called_in_turn, STEP)
    assert await e.later(called_in_turn, STEP) == []
    told = await e.later(called_in_turn, 30_000)
    assert e.outcome(told, "inviteRejected") == (408, "timeout")
    assert groups.stopped(told) == ["dave-phone"]
    assert groups.record_of(told) == {"bob": 408, "carol": 408, "dave": 408}


@pytest.mark.parametrize(
    "end",
    [
        e.decline("bob-phone"),
        e.decline("bob-phone", errorCode=486),
        e.disconnected("bob-phone"),
        e.stop(callee="bob"),
    ],
)
async def test_a_members_end_moves_on_at_once(called_in_turn: Shard, end: e.Published) -> None:
    called_in_turn.now += 3_000
    told = await called_in_turn.event(*end)
    assert groups.rung(told) == ["carol-phone"]
    assert "inviteRejected" not in e.types(told)

    assert await e.later(called_in_turn, STEP - 1) == []
    told = await e.later(called_in_turn, 1)
    assert (groups.stopped(told), groups.rung(told)) == (["carol-phone"], ["dave-phone"])


async def test_members_that_cannot_be_rung_are_passed_over(in_turn: Shard) -> None:
    groups.team(in_turn, "erin", "frank", "bob", "grace", "carol", sequential=True)
    told = await in_turn.event(*e.invite(to="team"))
    assert groups.rung(told) == ["bob-phone"]
    told = await in_turn.event(*e.decline("bob-phone"))
    assert groups.rung(told) == ["carol-phone"]
    told = await in_turn.event(*e.decline("carol-phone", "carol", errorCode=486))
    assert e.outcome(told, "inviteRejected") == (603, "declined")
    assert groups.record_of(told) == {"erin": 480, "frank": 480, "bob": 603, "grace": 480, "carol": 486}


async def test_the_last_that_cannot_be_rung_ends_it(in_turn: Shard) -> None:
    groups.team(in_turn, "bob", "erin", "frank", sequential=True)
    told = await e.in_order(in_turn, e.invite(to="team"), e.decline("bob-phone", errorCode=486))
    assert e.outcome(told, "inviteRejected") == (486, "busy")
    assert await in_turn.client.zcard(in_turn.keys.timers) == 0


async def test_a_member_for_whom_the_ref_exists_does_not_hold_up_the_next(in_turn: Shard) -> None:
    await in_turn.event(*e.invite(to="bob"))
    told = await in_turn.event(*e.invite(to="team"))
    assert groups.rung(told) == ["carol-phone"]
    assert set(await groups.legs(in_turn)) == {"carol", "dave"}
    told = await e.later(in_turn, STEP)
    assert (groups.stopped(told), groups.rung(told)) == (["carol-phone"], ["dave-phone"])


async def test_a_member_that_was_stopped_before_its_turn_is_passed_over(called_in_turn: Shard) -> None:
    told = await e.in_order(called_in_turn, e.stop(callee="carol"), e.decline("bob-phone"))
    assert groups.rung(told) == ["dave-phone"]
    told = await called_in_turn.event(*e.accept("dave-phone", "dave"))
    assert groups.record_of(told) == {"bob": 603, "carol": 487, "dave": 200}


@pytest.mark.one_shard
async def test_a_crowd_that_cannot_be_rung_is_passed_over_page_by_page(in_turn: Shard) -> None:
    groups.team(in_turn, *(f"nobody-{at}" for at in range(50)), "carol", "dave", sequential=True)
    told = await in_turn.event(*e.invite(to="team"))
    assert groups.rung(told) == []
    told = await in_turn.relay()
    assert groups.rung(told) == ["carol-phone"]
    assert (await in_turn.invite(groups.TEAM))["open"] == "2"


async def test_a_member_whose_trunk_is_gone_by_its_turn_is_passed_over(in_turn: Shard) -> None:
    await in_turn.event(*e.trunk("gw", match="34.*"))
    groups.team(in_turn, "bob", "3460", "carol", sequential=True)
    told = await e.in_order(in_turn, e.invite(to="team"), e.disconnected("gw", "sip"), e.decline("bob-phone"))
    assert groups.rung(told) == ["bob-phone", "carol-phone"]


async def test_a_trunk_whose_loss_ends_one_turn_is_no_way_to_the_next_member(in_turn: Shard) -> None:
    await in_turn.event(*e.trunk("gw", match="34.*"))
    groups.team(in_turn, "3460", "3461", "carol", sequential=True)
    told = await e.in_order(in_turn, e.invite(to="team"), e.disconnected("gw", "sip"))
    assert groups.rung(told) == ["carol-phone", "gw"]


async def test_a_peer_elsewhere_that_is_gone_by_its_members_turn_is_not_rung(in_turn: Shard) -> None:
    groups.team(in_turn, "bob", "carol", sequential=True, carol={"peers": ("carol-far", "carol-near")})
    told = await e.in_order(in_turn, e.invite(to="team"), e.disconnected("carol-far", "carol"))
    assert groups.rung(told + await e.later(in_turn, STEP)) == ["bob-phone", "carol-near", "carol-phone"]


async def test_all_stop_when_one_accepts(called_in_turn: Shard) -> None:
    await e.later(called_in_turn, STEP)
    told = await called_in_turn.event(*e.accept("carol-phone", "carol"))
    assert e.types(told) == ["INVITE_COMPLETED", "answer", "inviteAccepted"]
    assert groups.record_of(told) == {"bob": 408, "carol": 200, "dave": 487}
    assert await e.later(called_in_turn, 100_000) == []


async def test_whose_turn_is_over_comes_too_late(called_in_turn: Shard) -> None:
    await e.later(called_in_turn, STEP)
    told = await called_in_turn.event(*e.accept("bob-phone"))
    assert e.types(told) == ["answer"]
    assert e.outcome(told, "answer") == (410, "timeout")


async def test_whose_turn_has_not_come_has_no_invite_yet(called_in_turn: Shard) -> None:
    told = await called_in_turn.event(*e.accept("carol-phone", "carol"))
    assert e.types(told) == ["answer"]
    assert e.outcome(told, "answer") == (404, "not_found")


async def test_a_device_that_comes_before_its_members_turn_rings_in_its_turn(called_in_turn: Shard) -> None:
    assert e.types(await called_in_turn.event(*e.registered("carol-desk", "carol"))) == []
    assert groups.rung(await e.later(called_in_turn, STEP)) == ["carol-desk", "carol-phone"]


@pytest.mark.parametrize("end", [e.stop(callee="team"), e.room_closed()])
async def test_an_end_of_the_call_begins_nothing_more(called_in_turn: Shard, end: e.Published) -> None:
    told = await called_in_turn.event(*end)
    assert groups.stopped(told) == ["bob-phone"]
    assert groups.record_of(told) == {"bob": 487, "carol": 487, "dave": 487}
    assert await e.later(called_in_turn, 100_000) == []


async def test_the_caller_hears_180_once_and_the_present_devices_when_asking(called_in_turn: Shard) -> None:
    told = await called_in_turn.event(*e.ringing("bob-phone"))
    assert e.one(told, "inviteProgress").payload["code"] == 180
    await e.later(called_in_turn, STEP)
    told = await called_in_turn.event(*e.invite(to="team"))
    payload = e.one(told, "inviteProgress").payload
    assert (payload["code"], payload["candidates"], payload["ringing"]) == (100, 1, 0)
    assert e.types(await called_in_turn.event(*e.ringing("carol-phone", "carol"))) == []


async def test_a_step_that_is_noticed_after_the_deadline_rings_nobody(called_in_turn: Shard) -> None:
    told = await e.later(called_in_turn, 70_000)
    assert groups.rung(told) == []
    assert groups.stopped(told) == ["bob-phone"]
    assert e.outcome(told, "inviteRejected") == (408, "timeout")


async def test_a_last_decline_after_the_deadline_does_not_hide_that_a_member_timed_out(
    called_in_turn: Shard,
) -> None:
    await e.later(called_in_turn, STEP)
    await e.later(called_in_turn, STEP)
    called_in_turn.now += e.RING
    told = await called_in_turn.event(*e.decline("dave-phone", "dave", to="team"))
    assert e.outcome(told, "inviteRejected") == (408, "timeout")
    assert groups.record_of(told) == {"bob": 408, "carol": 408, "dave": 603}


async def test_a_member_who_joined_the_room_meanwhile_is_called_all_the_same(called_in_turn: Shard) -> None:
    await called_in_turn.event(*e.joined("carol"))
    assert groups.rung(await e.later(called_in_turn, STEP)) == ["carol-phone"]


async def test_a_member_whose_turn_it_is_becomes_busy(make_shard: MakeShard) -> None:
    shard = await make_shard(Settings(look_up="all", only_one_device_with_invitations=True))
    groups.team(shard, "bob", "carol", sequential=True)
    await groups.at_home(shard, "bob-phone", "carol-phone")
    await e.in_order(shard, e.invite(to="team"), e.invite(peer("z", "zoe")))
    told = await shard.event(*e.accept("bob-other", from_="zoe"))
    assert groups.rung(told) == ["carol-phone"]
    [cancel] = [each for each in of_type(told, "invitationCancel") if each.payload["from"] == "alice"]
    assert (cancel.peers, cancel.payload["reason"]) == (["bob-phone"], "busy_elsewhere")


async def test_the_step_is_the_configured_one(make_shard: MakeShard) -> None:
    shard = await make_shard(Settings(look_up="groups", ringing_step=2_000))
    groups.team(shard, "bob", "carol", sequential=True)
    await groups.at_home(shard, "bob-phone", "carol-phone")
    await shard.event(*e.invite(to="team"))
    assert groups.rung(await e.later(shard, 2_000)) == ["carol-phone"]


async def test_news_go_to_who_rings_and_to_those_who_follow(called_in_turn: Shard) -> None:
    assert groups.rung(await called_in_turn.event(*e.invite(to="team", context="new"))) == ["bob-phone"]
    told = await e.later(called_in_turn, STEP)
    assert e.one(told, "invitation").payload["context"] == "new"
    assert (await called_in_turn.invite("alice|1|carol"))["context"] == '"new"'
