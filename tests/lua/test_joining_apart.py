"""Joins over several shards: the room, the callee and the group are in different ones, whose messages come late."""

from dataclasses import dataclass
from typing import Self

import pytest
from redis.asyncio import Redis

from invites.events.operation import Operation
from invites.store.answers import Status
from tests.support import events as e
from tests.support import groups
from tests.support.shard import Notification, Shard, of_type, peer
from tests.support.shards import Apart

PHONE = peer("phone", "bob")
MEMBER = peer("bob-phone", "bob")


@pytest.fixture
async def apart(client: Redis) -> Apart:
    """Ten shards; the room, Bob, Carol, Alice and the team are in different ones. Bob's phone is there."""
    shard = await Apart.make_several(lambda _: client, groups.GROUPS, 10)
    homes = [shard.home_of(name).keys.shard for name in ("r", "bob", "carol", "alice", "team")]
    assert len(set(homes)) == len(homes), homes
    await shard.at_home(*e.registered("phone"))
    return shard


@dataclass
class Held:
    """An event that a worker has in hand. It has looked up what other shards know, and nothing later."""

    shard: Apart
    part: Shard
    operation: Operation

    @classmethod
    async def publish(cls, shard: Apart, event: e.Published) -> Self:
        part = shard.home_of(event[1]["to"])
        operation = await part.publish(*event, shard.entry_id())
        (seen,) = await part.other_shards.see_rooms([operation])
        return cls(shard, part, seen)

    async def settle(self) -> list[Notification]:
        part, operation = self.part, self.operation
        part.now = self.shard.now
        (outcome,) = (await part.committer.commit([operation])).outcomes
        while outcome.status is Status.NEEDS:
            operation = await part.resolver.complete(operation, outcome)
            (outcome,) = (await part.committer.commit([operation])).outcomes
        return await self.shard.told()


async def test_a_join_that_is_told_before_the_invite_is_settled_has_answered_it(apart: Apart) -> None:
    invite = await Held.publish(apart, e.invite())
    await apart.at_home(*e.joined("bob"))
    await apart.carry()
    told = await invite.settle()
    assert of_type(told, "invitation") == []
    assert e.one(told, "inviteAccepted").payload["whoAccepted"] == "bob"


async def test_a_join_that_is_told_after_the_invite_ends_it(apart: Apart) -> None:
    invite = await Held.publish(apart, e.invite())
    await apart.at_home(*e.joined("bob", peer=PHONE))
    assert e.recipients(await invite.settle(), "invitation") == {"phone"}
    told = await apart.carry()
    assert e.one(told, "inviteAccepted").payload["peer"] == "phone"


async def test_a_leaving_that_is_told_before_its_join_wins(apart: Apart) -> None:
    await apart.at_home(*e.invite())
    await apart.at_home(*e.joined("bob", peer=PHONE))
    await apart.at_home(*e.left("bob"))
    await apart.carry("user_left")
    told = await apart.carry()
    assert told == []
    assert (await apart.invite(e.REF))["state"] == "PENDING"


async def test_a_leaving_that_is_known_counts_more_than_what_was_looked_up(apart: Apart) -> None:
    await apart.at_home(*e.joined("bob", peer=PHONE))
    await apart.carry()
    invite = await Held.publish(apart, e.invite())
    await apart.at_home(*e.left("bob"))
    await apart.carry()
    assert e.recipients(await invite.settle(), "invitation") == {"phone"}


async def test_a_member_in_another_shard_is_seen_by_a_new_invite(apart: Apart) -> None:
    await apart.at_home(*e.joined("bob", peer=PHONE))
    told = await apart.at_home(*e.invite())
    assert e.types(told) == ["INVITE_COMPLETED", "inviteAccepted"]


async def test_a_join_that_overtakes_the_leg_is_the_members_accept(apart: Apart) -> None:
    groups.team(apart, "bob", "carol")
    await apart.at_home(*e.registered("carol-phone", "carol"))
    await apart.at_home(*e.invite(to="team"))
    await apart.at_home(*e.joined("bob", peer=MEMBER))
    await apart.carry("user_joined")
    told = await apart.carry()
    assert "phone" not in groups.rung(told)
    assert e.one(told, "inviteAccepted").payload["whoAccepted"] == "bob"
    assert groups.stopped(told) == [name for name in groups.rung(told) if name == "carol-phone"]
    assert groups.record_of(told)["bob"] == 200


async def test_two_members_join_at_once_and_one_of_them_wins(apart: Apart) -> None:
    groups.team(apart, "bob", "carol")
    await apart.at_home(*e.registered("carol-phone", "carol"))
    await apart.at_home(*e.invite(to="team"))
    await apart.carry()
    await apart.at_home(*e.joined("bob"))
    await apart.at_home(*e.joined("carol"))
    await apart.at_home(*e.joined("bob", peer=PHONE))
    told = await apart.carry()
    assert len(of_type(told, "inviteAccepted")) == len(of_type(told, "INVITE_COMPLETED")) == 1
    assert groups.stopped(told) == ["carol-phone", "phone"]


async def test_an_accept_that_waits_behind_a_join_without_a_peer_is_named(apart: Apart) -> None:
    groups.team(apart, "bob", "carol")
    await apart.at_home(*e.invite(to="team"))
    await apart.carry()
    await apart.at_home(*e.joined("bob"))
    await apart.carry("user_joined")
    assert await apart.at_home(*e.accept("phone")) == []
    told = await apart.carry()
    assert e.one(told, "inviteAccepted").payload["peer"] is None
    assert e.outcome(told, "answer") == (200, "accepted")
    repeated = await apart.at_home(*e.invite(to="team"))
    assert e.one(repeated, "inviteAccepted").payload["peer"] == "phone"
