"""Groups over several shards: a leg whose accept another shard decides, whatever comes late, twice or never."""

from typing import Any

import pytest
from redis.asyncio import Redis

from invites.store.settings import Settings
from tests.support import events as e
from tests.support import groups
from tests.support.shard import Notification, of_type, peer
from tests.support.shards import Apart

BOBS = "alice|1|bob"
LEASE = 5_000


async def ringing(client: Redis, settings: Settings, **more: Any) -> Apart:
    """Five shards in which Alice calls Bob (two devices) and Carol; the group and Bob are in different ones."""
    shard = await Apart.make_several(lambda _: client, settings, 5)
    groups.team(shard, "bob", "carol")
    for device in ("bob-phone", "bob-desk", "carol-phone"):
        await shard.at_home(*e.registered(device, device.partition("-")[0]))
    await shard.at_home(*e.invite(to="team", **more))
    await shard.carry()
    return shard


@pytest.fixture
async def called(client: Redis) -> Apart:
    """The shards while the call rings."""
    return await ringing(client, groups.GROUPS)


def answers(told: list[Notification]) -> list[tuple[str, int, str]]:
    """Peer, code and reason of each answer."""
    return [(each.peers[0], each.payload["code"], each.payload["reason"]) for each in of_type(told, "answer")]


async def passes(shard: Apart, ms: int) -> list[Notification]:
    """Let time pass, with all that follows from it in all shards."""
    told = await e.later(shard, ms)
    return told + await shard.carry()


async def test_each_accept_of_the_winner_hears_200(called: Apart) -> None:
    for name in ("t1", "t2"):
        assert await called.at_home(*e.accept("bob-phone", transaction=name)) == []
    told = await called.carry()
    told += await called.at_home(*e.accept("bob-phone", transaction="t3"))
    found = {each.payload["transaction"]: each.payload["code"] for each in of_type(told, "answer")}
    assert found == {"t1": 200, "t2": 200, "t3": 200}
    assert len(of_type(told, "answer")) == 3


async def test_of_two_devices_of_a_member_one_wins(called: Apart) -> None:
    await called.at_home(*e.accept("bob-phone"))
    await called.at_home(*e.accept("bob-desk"))
    told = await called.carry()
    assert answers(told) == [("bob-phone", 200, "accepted"), ("bob-desk", 410, "accepted")]
    assert groups.stopped(told) == ["bob-desk", "carol-phone"]


@pytest.mark.parametrize(
    "meanwhile", [e.decline("bob-desk"), e.disconnected("bob-desk"), e.stop(callee="bob")]
)
async def test_nothing_ends_a_leg_while_its_accept_is_decided(called: Apart, meanwhile: e.Published) -> None:
    await called.at_home(*e.accept("bob-phone"))
    assert groups.stopped(await called.at_home(*meanwhile)) == []
    assert groups.stopped(await e.later(called, 50_000)) == []
    told = await called.carry()
    assert answers(told)[-1] == ("bob-phone", 200, "accepted")
    assert e.one(told, "inviteAccepted").payload["whoAccepted"] == "bob"


async def test_an_accept_that_comes_after_another_member_has_won(called: Apart) -> None:
    await called.at_home(*e.accept("bob-phone"))
    await called.at_home(*e.accept("carol-phone", "carol"))
    told = await called.carry()
    found = {each.peers[0]: each.payload for each in of_type(told, "answer")}
    first, second = sorted(found.values(), key=lambda each: each["code"])
    assert (first["code"], second["code"], second["reason"]) == (200, 410, "accepted")
    assert second["whoAccepted"] == first["to"]
    assert len(of_type(told, "inviteAccepted")) == 1


async def test_a_leg_asks_again_when_the_groups_shard_has_lost_the_accept(called: Apart) -> None:
    group = called.home_of("team")
    copy = await called.copy_of(group)
    await called.at_home(*e.accept("bob-phone"))
    await called.carry("leg_asks")
    await called.fail_over(group, copy)
    called.on_the_way.clear()
    assert await called.carry() == []

    told = await passes(called, LEASE)
    assert answers(told) == [("bob-phone", 200, "accepted")]
    assert groups.stopped(told) == ["bob-desk", "carol-phone"]
    told = await called.at_home(*e.invitations("bob-desk"))
    assert e.one(told, "answer").payload["invitations"] == []


async def test_a_leg_whose_call_is_forgotten_ends(called: Apart) -> None:
    group = called.home_of("team")
    copy = {
        name: each for name, each in (await called.copy_of(group)).items() if groups.TEAM not in name.decode()
    }
    await called.at_home(*e.accept("bob-phone"))
    await called.carry("leg_asks")
    await called.fail_over(group, copy)
    called.on_the_way.clear()

    told = await passes(called, LEASE)
    assert answers(told) == [("bob-phone", 410, "cancelled")]
    assert groups.stopped(told) == ["bob-desk", "bob-phone"]
    assert (await called.invite(BOBS))["state"] == "DECLINED_BY_CREATOR"


async def test_a_member_whose_shard_has_lost_its_accept_has_still_won(called: Apart) -> None:
    bobs = called.home_of("bob")
    copy = await called.copy_of(bobs)
    await called.at_home(*e.accept("bob-phone"))
    assert answers(await called.carry()) == [("bob-phone", 200, "accepted")]
    await called.fail_over(bobs, copy)

    told = await passes(called, 60_000 + 2_000)
    assert groups.stopped(told) == ["bob-desk"]
    told = await called.at_home(*e.accept("bob-phone"))
    assert answers(told) == [("bob-phone", 200, "accepted")]


async def test_a_repeat_of_a_lost_accept_hears_200_as_before(called: Apart) -> None:
    bobs = called.home_of("bob")
    copy = await called.copy_of(bobs)
    await called.at_home(*e.accept("bob-phone"))
    await called.carry()
    await called.fail_over(bobs, copy)
    await called.at_home(*e.accept("bob-desk"))
    await called.at_home(*e.accept("bob-phone"))
    assert answers(await called.carry()) == [("bob-desk", 410, "accepted"), ("bob-phone", 200, "accepted")]


async def test_a_leg_rings_no_longer_than_its_lease_when_the_group_does_not_answer(called: Apart) -> None:
    told = await e.later(called, 62_000)
    assert "bob-phone" not in groups.stopped(told)
    called.on_the_way.clear()
    told = await e.later(called, LEASE)
    assert {"bob-desk", "bob-phone"} <= set(groups.stopped(told))
    assert (await called.invite(BOBS))["state"] == "DECLINED_BY_TIMEOUT"
    await called.carry()


async def test_a_member_whose_shard_has_lost_its_decline_ends_as_declined(called: Apart) -> None:
    bobs = called.home_of("bob")
    copy = await called.copy_of(bobs)
    await called.at_home(*e.decline("bob-desk"))
    await called.carry()
    await called.fail_over(bobs, copy)
    await called.at_home(*e.accept("bob-phone"))
    told = await called.carry()
    assert answers(told) == [("bob-phone", 410, "declined")]
    assert groups.stopped(told) == ["bob-desk", "bob-phone"]
    assert (await called.invite(BOBS))["state"] == "DECLINED"
    assert (await called.invite(groups.TEAM))["state"] == "PENDING"


async def test_a_device_whose_accept_is_decided_is_not_told_that_its_user_is_busy(client: Redis) -> None:
    called = await ringing(client, Settings(look_up="all", only_one_device_with_invitations=True))
    await called.at_home(*e.invite(by=peer("d", "dave"), to="bob"))
    await called.at_home(*e.accept("bob-phone"))
    told = await called.at_home(*e.accept("bob-desk", from_="dave"))
    about_the_team = [each for each in of_type(told, "invitationCancel") if each.payload["from"] == "alice"]
    assert about_the_team == []
    told = await called.carry()
    assert answers(told) == [("bob-phone", 200, "accepted")]
    assert "bob-phone" not in groups.stopped(told)


async def test_the_first_accept_of_the_winning_device_gives_the_context(called: Apart) -> None:
    for name, context in (("bob-phone", "first"), ("bob-later", "second")):
        await called.at_home(*e.said_by("phone", e.accept(name, context=context)))
    told = await called.carry()
    assert answers(told) == [("bob-phone", 200, "accepted"), ("bob-later", 200, "accepted")]
    assert e.one(told, "inviteAccepted").payload["context"] == "first"


async def test_each_member_may_accept_while_the_others_are_undecided(client: Redis) -> None:
    shard = await ringing(client, groups.GROUPS, ringMode="all")
    for name, user in (("bob-phone", "bob"), ("carol-phone", "carol"), ("bob-phone", "bob")):
        await shard.at_home(*e.accept(name, user))
    told = await shard.carry()
    assert sorted(answers(told)) == [("bob-phone", 200, "accepted")] * 2 + [("carol-phone", 200, "accepted")]
    assert groups.stopped(told) == ["bob-desk"]
    found = [each.payload["whoAccepted"] for each in of_type(told, "inviteAccepted")]
    assert sorted(found) == ["bob", "carol"]


@pytest.mark.parametrize("event", ["decline", "loss"])
async def test_no_trunk_follows_while_its_accept_is_decided(client: Redis, event: str) -> None:
    shard = await Apart.make_several(lambda _: client, groups.GROUPS, 5)
    number = next(each for each in map(str, range(100)) if shard.home_of(each) is not shard.home_of("team"))
    groups.team(shard, number, "carol")
    for registration in (e.trunk("t1"), e.trunk("t2"), e.registered("carol-phone", "carol")):
        await shard.at_home(*registration)
    await shard.carry()
    await shard.at_home(*e.invite(to="team"))
    assert groups.rung(await shard.carry()) == ["carol-phone", "t1"]
    await shard.at_home(*e.accept("t1", "sip", to=number))
    failure = e.decline("t1", "sip", to=number, errorCode=503)
    told = await shard.at_home(*(failure if event == "decline" else e.disconnected("t1", "sip")))
    told += await shard.carry()
    assert groups.rung(told) == []
    assert e.one(told, "inviteAccepted").payload["whoAccepted"] == number


async def bobs_phone_accepts(called: Apart) -> None:
    """Bob's phone accepts and has a new peer id before another shard decides."""
    await called.at_home(*e.registered("bob-phone", device="phone"))
    await called.at_home(*e.accept("bob-phone"))
    told = await called.at_home(*e.registered("bob-later", device="phone"))
    assert groups.rung(told) == []


@pytest.mark.parametrize("decided", [False, True])
async def test_a_device_whose_accept_is_decided_does_not_ring_under_a_new_peer_id(
    called: Apart, decided: bool
) -> None:
    await bobs_phone_accepts(called)
    told = await called.carry() if decided else []
    told += await called.at_home(*e.accept("bob-later"))
    told += await called.carry()
    assert answers(told) == [("bob-phone", 200, "accepted"), ("bob-later", 200, "accepted")]
    assert groups.stopped(told) == ["bob-desk", "carol-phone"]


async def test_a_device_whose_accept_was_too_late_stops_under_its_new_peer_id(called: Apart) -> None:
    await called.at_home(*e.accept("carol-phone", "carol"))
    await called.carry("leg_asks")
    await bobs_phone_accepts(called)
    told = await called.carry()
    assert ("bob-phone", 410, "accepted") in answers(told)
    assert "bob-later" in groups.stopped(told)


async def test_news_of_a_call_do_not_ring_a_device_whose_accept_is_decided(called: Apart) -> None:
    await bobs_phone_accepts(called)
    await called.at_home(*e.invite(to="team", context="news"))
    told = await called.carry("leg_update")
    assert "bob-desk" in groups.rung(told)
    assert "bob-later" not in groups.rung(told)


async def test_a_device_that_was_no_candidate_when_it_accepted_does_not_ring(called: Apart) -> None:
    await called.at_home(*e.said_by("watch", e.accept("bob-watch")))
    told = await called.at_home(*e.registered("bob-later", device="watch"))
    told += await called.carry()
    assert groups.rung(told) == []
    assert answers(told) == [("bob-watch", 200, "accepted")]
