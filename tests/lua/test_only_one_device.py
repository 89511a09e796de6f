"""onlyOneDeviceWithInvitations: a user who accepts a call is busy for other calls on all other devices."""

import pytest

from invites.store.settings import Settings
from tests.support import events as e
from tests.support import push_jobs
from tests.support.shard import MakeShard, Shard, of_type, peer

CAROL = peer("c", "carol")
CAROLS = "carol|1|bob"


@pytest.fixture
async def one_device(make_shard: MakeShard) -> Shard:
    """A shard with the flag, in which Alice and Carol call Bob's phone and tablet."""
    shard = await make_shard(Settings(only_one_device_with_invitations=True))
    await e.bob_rings(shard, "phone", "tablet")
    await shard.event(*e.invite(by=CAROL))
    return shard


async def test_without_the_flag_other_invitations_go_on(shard: Shard) -> None:
    await e.bob_rings(shard, "phone", "tablet")
    await e.in_order(shard, e.invite(by=CAROL), e.accept("phone"))
    assert await e.states(shard, CAROLS) == {"phone": "CALLED", "tablet": "CALLED"}


async def test_other_invitations_are_rejected_on_all_peers_except_that_one(one_device: Shard) -> None:
    told = await one_device.event(*e.accept("phone"))

    [cancel] = [found for found in of_type(told, "invitationCancel") if found.payload["from"] == "carol"]
    assert (cancel.peers, cancel.payload["code"], cancel.payload["reason"]) == (
        ["tablet"],
        486,
        "busy_elsewhere",
    )
    assert await e.states(one_device, CAROLS) == {"phone": "CALLED", "tablet": "REJECTED"}
    assert (await one_device.invite(CAROLS))["state"] == "PENDING"


async def test_the_accepted_call_itself_is_not_rejected(one_device: Shard) -> None:
    told = await one_device.event(*e.accept("phone"))
    [cancel] = [found for found in of_type(told, "invitationCancel") if found.payload["from"] == "alice"]
    assert (cancel.payload["code"], cancel.payload["reason"]) == (200, "accepted_elsewhere")
    assert e.end_reasons(told) == {"phone": 200, "tablet": 487}


async def test_the_device_that_accepted_may_take_the_other_call_too(one_device: Shard) -> None:
    told = await e.in_order(one_device, e.accept("phone"), e.accept("phone", from_="carol"))
    assert {found.payload["from"] for found in of_type(told, "inviteAccepted")} == {"alice", "carol"}


async def test_a_device_whose_user_is_busy_elsewhere_cannot_accept(one_device: Shard) -> None:
    await one_device.event(*e.accept("phone"))
    for _ in range(2):
        told = await one_device.event(*e.accept("tablet", from_="carol"))
        assert e.types(told) == ["answer"]
        assert e.outcome(told, "answer") == (410, "busy_elsewhere")
    assert (await one_device.invite(CAROLS))["state"] == "PENDING"


async def test_a_device_whose_user_is_busy_elsewhere_is_not_shown_the_call(one_device: Shard) -> None:
    await one_device.event(*e.accept("phone"))
    told = await one_device.event(*e.invitations("tablet"))
    assert e.one(told, "answer").payload["invitations"] == []
    told = await one_device.event(*e.invitations("phone"))
    assert [one["from"] for one in e.one(told, "answer").payload["invitations"]] == ["carol"]


async def test_an_invite_that_is_left_without_candidates_ends_with_486(make_shard: MakeShard) -> None:
    shard = await make_shard(Settings(only_one_device_with_invitations=True))
    await e.bob_rings(shard, "tablet")
    await shard.event(*e.invite(by=CAROL))
    told = await shard.event(*e.accept("woken"))

    assert e.one(told, "inviteAccepted").payload["from"] == "alice"
    assert e.outcome(told, "inviteRejected") == (486, "busy")
    assert e.one(told, "inviteRejected").peers == ["c"]
    [record] = [found for found in of_type(told, "INVITE_COMPLETED") if found.payload["from"] == "carol"]
    assert (record.payload["state"], record.payload["error"]) == ("DECLINED", 486)
    assert record.payload["candidates"] == [{"address": "bob", "peer": "tablet", "endReason": 486}]


async def test_the_last_device_declining_after_that_ends_it_with_486(one_device: Shard) -> None:
    told = await e.in_order(one_device, e.accept("phone"), e.decline("phone", from_="carol", errorCode=480))
    assert e.outcome(told, "inviteRejected") == (480, "declined")


async def test_a_busy_verdict_beats_a_lost_device(one_device: Shard) -> None:
    told = await e.in_order(one_device, e.accept("phone"), e.disconnected("phone"))
    assert e.outcome(told, "inviteRejected") == (486, "busy")


async def test_it_acts_only_on_what_is_pending_at_that_moment(one_device: Shard) -> None:
    await one_device.event(*e.accept("phone"))
    told = await one_device.event(*e.invite(by=peer("d", "dave")))
    assert e.recipients(told, "invitation") == {"phone", "tablet"}


async def test_a_rejected_device_is_not_rung_again(one_device: Shard) -> None:
    await e.in_order(one_device, e.accept("phone"), e.disconnected("tablet"))
    assert "invitation" not in e.types(await one_device.event(*e.registered("tablet", session="new")))
    assert await e.states(one_device, CAROLS) == {"phone": "CALLED", "tablet": "REJECTED"}


async def test_a_device_that_was_told_that_its_user_is_busy_does_not_hear_it_twice(one_device: Shard) -> None:
    assert e.types(await one_device.event(*e.accept("phone"))).count("invitationCancel") == 2
    one_device.now += e.NOTICED + 1
    back = e.registered("tablet", session="new")
    assert await e.in_order(one_device, e.disconnected("tablet"), back) == []


async def test_a_device_that_was_away_then_hears_once_that_its_user_is_busy(make_shard: MakeShard) -> None:
    shard = await make_shard(Settings(only_one_device_with_invitations=True, remove_after=10_000))
    await e.bob_rings(shard, "phone", "tablet")
    await e.in_order(shard, e.invite(by=CAROL), e.disconnected("tablet"), e.accept("phone"))

    told = await shard.event(*e.registered("tablet"))
    [cancel] = [found for found in of_type(told, "invitationCancel") if found.payload["from"] == "carol"]
    assert (cancel.peers, cancel.payload["code"], cancel.payload["reason"]) == (
        ["tablet"],
        486,
        "busy_elsewhere",
    )
    assert e.types(await shard.event(*e.registered("tablet", session="new"))) == []
    await shard.event(*e.stop(CAROL))
    assert e.types(await shard.event(*e.registered("tablet", session="newer"))) == []


@pytest.mark.one_shard
async def test_a_phone_that_rings_and_was_pushed_as_well_stops_both_ways(make_shard: MakeShard) -> None:
    shard = await make_shard(
        Settings(only_one_device_with_invitations=True, look_up="push", push_after=3_000)
    )
    push_jobs.sleeps(shard, "bob", "D")
    await e.in_order(shard, e.registered("phone", device="D"), e.registered("tablet"), e.invite(by=CAROL))
    await e.later(shard, 3_000)
    await push_jobs.taken(shard)
    await shard.event(*e.invite())

    told = await shard.event(*e.accept("tablet"))
    stopped = [each for each in of_type(told, "invitationCancel") if each.payload["from"] == "carol"]
    assert [each.peers for each in stopped] == [["phone"]]
    cancels = [job for job in await push_jobs.jobs(shard) if job["type"] == "invitationCancel"]
    assert [(job["device"], job["payload"]["from"], job["payload"]["reason"]) for job in cancels] == [
        ("D", "carol", "busy_elsewhere")
    ]


async def test_invitations_of_other_users_are_not_touched(one_device: Shard) -> None:
    await e.in_order(one_device, e.registered("d", "dave"), e.invite(to="dave"), e.accept("phone"))
    assert await e.states(one_device, "alice|1|dave") == {"d": "CALLED"}


@pytest.mark.parametrize("event", [e.decline("phone"), e.ringing("phone"), e.stop()])
async def test_only_an_accept_rejects(one_device: Shard, event: e.Published) -> None:
    await one_device.event(*event)
    assert await e.states(one_device, CAROLS) == {"phone": "CALLED", "tablet": "CALLED"}


async def test_a_repeat_of_the_accept_rejects_nothing_more(one_device: Shard) -> None:
    await e.in_order(one_device, e.accept("phone"), e.invite(by=peer("d", "dave")))
    assert e.types(await one_device.event(*e.accept("phone"))) == ["answer"]
    assert await e.states(one_device, "dave|1|bob") == {"phone": "CALLED", "tablet": "CALLED"}


async def test_an_accept_of_the_phone_network_rejects_nothing(make_shard: MakeShard) -> None:
    shard = await make_shard(Settings(only_one_device_with_invitations=True))
    await e.in_order(shard, e.trunk("t"), e.invite(to="110"), e.invite(by=CAROL, to="110"))
    told = await shard.event(*e.accept("t", "sip", to="110"))
    assert "invitationCancel" not in e.types(told)
    assert (await shard.invite("carol|1|110"))["state"] == "PENDING"


async def test_the_same_device_under_another_peer_id_counts_as_that_one(make_shard: MakeShard) -> None:
    shard = await make_shard(Settings(only_one_device_with_invitations=True))
    await e.in_order(
        shard, e.registered("p1", device="phone"), e.registered("tablet"), e.invite(), e.invite(by=CAROL)
    )
    await e.in_order(shard, e.registered("p2", device="phone"), e.accept("p2"))
    assert await e.states(shard, CAROLS) == {"p2": "CALLED", "tablet": "REJECTED"}


async def test_calls_over_a_trunk_of_the_user_are_calls_of_others(make_shard: MakeShard) -> None:
    shard = await make_shard(Settings(only_one_device_with_invitations=True))
    await e.in_order(
        shard, e.trunk("t"), e.registered("operator", "sip"), e.invite(to="110"), e.invite(by=CAROL, to="sip")
    )
    told = await shard.event(*e.accept("operator", "sip", from_="carol"))
    assert e.outcome(told, "answer") == (200, "accepted")
    assert await e.states(shard, "alice|1|110") == {"t": "CALLED"}


async def test_what_a_device_said_before_is_not_taken_back(one_device: Shard) -> None:
    await e.in_order(one_device, e.decline("tablet", from_="carol", errorCode=480), e.accept("phone"))
    assert await e.states(one_device, CAROLS) == {"phone": "CALLED", "tablet": "DECLINED"}


@pytest.mark.parametrize("code", [480, 486])
async def test_what_a_device_declines_after_it_was_told_it_cannot_accept(
    one_device: Shard, code: int
) -> None:
    await e.in_order(one_device, e.accept("phone"), e.decline("tablet", from_="carol", errorCode=code))
    told = await one_device.event(*e.accept("tablet", from_="carol"))
    assert e.types(told) == ["answer"]
    assert e.outcome(told, "answer") == (410, "busy_elsewhere")


async def test_a_new_connection_does_not_ring_for_what_the_device_has_declined_then(
    make_shard: MakeShard,
) -> None:
    shard = await make_shard(Settings(only_one_device_with_invitations=True))
    await e.in_order(shard, e.registered("phone"), e.registered("tablet", device="T"))
    await e.in_order(shard, e.invite(), e.invite(by=CAROL), e.accept("phone"))
    await shard.event(*e.decline("tablet", from_="carol", errorCode=480))
    assert not of_type(await shard.event(*e.registered("tablet-2", device="T")), "invitation")
