"""Joins and calls in progress together with users' wishes, and with calls that may merge."""

from typing import Any

import pytest
from redis.asyncio import Redis

from invites.store.settings import Settings
from tests.support import events as e
from tests.support import groups
from tests.support.shard import MakeShard, Notification, Shard, of_type, peer
from tests.support.shards import Apart

PHONE = peer("phone", "bob")
BACK = e.invite(peer("desk", "bob"), to="alice", invite_id="9", room="of-bob")
AT_HOME = (e.registered("phone"), e.registered("a", "alice"))


def merged(told: list[Notification]) -> list[str]:
    """Into which calls others have merged."""
    return [each.payload["into"] for each in of_type(told, "inviteAccepted") if "into" in each.payload]


async def test_who_is_in_the_room_has_answered_although_nothing_may_ring(shard: Shard) -> None:
    await e.in_order(shard, e.registered("phone"), e.user_state(dnd=True), e.joined("bob", peer=PHONE))
    told = await shard.event(*e.invite())
    assert e.one(told, "inviteAccepted").payload["peer"] == "phone"
    assert of_type(told, "invitation") == []


async def test_two_calls_that_merge_make_both_users_busy_in_one_room(make_shard: MakeShard) -> None:
    shard = await make_shard(Settings(glare="merge", when_busy="reject"))
    await e.in_order(shard, *AT_HOME, e.invite())
    told = await shard.event(*BACK)
    assert merged(told) == [e.REF]
    busy = sorted((each.payload["userId"], each.payload["room"]) for each in of_type(told, "userBusy"))
    assert busy == [("alice", "r"), ("bob", "r")]


async def test_a_call_merges_although_its_callee_is_busy(make_shard: MakeShard) -> None:
    shard = await make_shard(Settings(glare="merge", when_busy="reject"))
    await e.in_order(shard, *AT_HOME, e.invite(), e.joined("alice", "elsewhere", peer=e.ALICE))
    assert merged(await shard.event(*BACK)) == [e.REF]


@pytest.mark.parametrize("peer_of_join", [{}, {"peer": PHONE}], ids=["unnamed", "named"])
async def test_a_call_merges_into_one_that_a_join_has_accepted_meanwhile(
    make_shard: MakeShard, peer_of_join: dict[str, Any]
) -> None:
    shard = await make_shard(Settings(glare="merge"))
    await e.in_order(shard, *AT_HOME, e.invite())
    late = await shard.publish(*BACK)
    await shard.event(*e.joined("bob", **peer_of_join))
    await shard.settle(late)
    assert merged(await shard.told()) == [e.REF]


# -- over several shards, where an invite is held


async def apart(client: Redis, settings: Settings) -> Apart:
    """Ten shards; the room, Bob and Alice are in different ones. Both have a device."""
    shard = await Apart.make_several(lambda _: client, settings, 10)
    homes = [shard.home_of(name).keys.shard for name in ("r", "bob", "alice", "team")]
    assert len(set(homes)) == len(homes), homes
    for event in AT_HOME:
        await shard.at_home(*event)
    return shard


@pytest.mark.parametrize("peer_of_join", [{}, {"peer": PHONE}], ids=["unnamed", "named"])
async def test_a_join_answers_a_held_call_once_it_may_ring(
    client: Redis, peer_of_join: dict[str, Any]
) -> None:
    shard = await apart(client, Settings(glare="merge"))
    await shard.at_home(*e.invite())
    await shard.at_home(*e.joined("bob", **peer_of_join))
    assert "inviteAccepted" not in e.types(await shard.carry("user_joined"))
    told = await shard.carry()
    assert e.one(told, "inviteAccepted").payload["peer"] == peer_of_join.get("peer", {}).get("id")
    assert of_type(told, "invitation") == []


async def test_a_held_call_that_was_joined_merges_all_the_same(client: Redis) -> None:
    shard = await apart(client, Settings(glare="merge"))
    await shard.at_home(*e.invite())
    await shard.at_home(*BACK)
    await shard.at_home(*e.joined("bob", peer=PHONE))
    await shard.carry("user_joined")
    told = await shard.carry()
    assert merged(told) == [e.REF]
    assert len(of_type(told, "inviteAccepted")) == len(of_type(told, "INVITE_COMPLETED")) == 2


async def test_a_held_call_to_a_busy_user_ends_once_it_may_ring(client: Redis) -> None:
    shard = await apart(client, Settings(glare="merge", when_busy="reject"))
    await shard.at_home(*e.joined("bob", "elsewhere", peer=PHONE))
    await shard.carry()
    assert await shard.at_home(*e.invite()) == []
    await shard.at_home(*e.registered("tablet"))
    told = await shard.carry()
    assert e.types(told) == ["INVITE_COMPLETED", "inviteRejected"]
    assert e.outcome(told, "inviteRejected") == (486, "busy")


async def test_a_member_who_joins_meanwhile_has_answered_although_nothing_may_ring(client: Redis) -> None:
    shard = await apart(client, groups.GROUPS)
    groups.team(shard, "bob", "carol")
    await shard.at_home(*e.registered("carol-phone", "carol"))
    await shard.at_home(*e.user_state(dnd=True))
    await shard.at_home(*e.invite(to="team"))
    await shard.at_home(*e.joined("bob", peer=PHONE))
    await shard.carry("user_joined")
    told = await shard.carry()
    assert e.one(told, "inviteAccepted").payload["whoAccepted"] == "bob"
    assert groups.record_of(told)["bob"] == 200
