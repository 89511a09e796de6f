"""A leg and another invite of the same ref, in shards whose messages come late.

Carol has called Dave with the inviteId of her call to a group, or calls two groups with it. Carol and Dave are in one
of five shards; each group, Bob and the rooms are in others.
"""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis

from invites.lookup.result import LookupResult, Member
from invites.store.settings import Settings
from tests.support import events as e
from tests.support import groups
from tests.support.shard import Notification, peer
from tests.support.shards import Apart

CAROL = peer("c", "carol")
DAVES = "carol|1|dave"
SETTINGS = Settings(look_up="all", ringing_step=110_000)


@pytest.fixture
async def apart(valkey_url: str) -> AsyncIterator[Apart]:
    """The shards; Bob and Dave have a phone each."""
    async with Redis.from_url(valkey_url) as client:
        shards = await Apart.make_several(lambda _: client, SETTINGS, 5)
        groups.team(shards, "bob", "dave", sequential=True)
        shards.found["crew"] = LookupResult(known=True, members=[Member("dave")])
        for device, user in (("bob-phone", "bob"), ("dave-phone", "dave")):
            await does(shards, e.registered(device, user))
        yield shards


async def does(shards: Apart, event: e.Published) -> list[Notification]:
    """Settle an event in its shard, and carry all that follows from it."""
    return await shards.at_home(*event) + await shards.carry()


def calls(to: str, room: str = "r1", **more: Any) -> e.Published:
    return e.invite(CAROL, to, room=room, **more)


async def direct_call_ends(shards: Apart) -> None:
    """Carol calls Dave, repeats it, and the room is closed: Dave's shard hears that from another one."""
    await does(shards, calls("dave", "r2", expires=1_000))
    await does(shards, calls("dave", "r2", context="news"))
    told = await does(shards, ("roomClosed", {"roomId": "r2"}))
    assert e.outcome(told, "inviteRejected") == (487, "room_closed")


async def test_a_member_is_left_out_for_a_direct_call_that_another_shard_has_ended(apart: Apart) -> None:
    await does(apart, calls("team"))
    await direct_call_ends(apart)
    told = await does(apart, e.decline("bob-phone", from_="carol", errorCode=486))
    assert e.outcome(told, "inviteRejected") == (486, "busy")
    assert [each["address"] for each in e.one(told, "INVITE_COMPLETED").payload["candidates"]] == ["bob"]


async def test_a_member_rings_once_the_direct_call_is_forgotten(apart: Apart) -> None:
    await does(apart, calls("team", expires=120_000))
    await direct_call_ends(apart)
    await apart.parts[3].client.delete(apart.keys.invite(DAVES))
    told = await does(apart, e.decline("bob-phone", from_="carol", errorCode=486))
    assert groups.rung(told) == ["dave-phone"]


@pytest.mark.parametrize("first", ["leg_start", "leg_cancel"])
async def test_the_end_of_a_group_call_spares_the_direct_call(apart: Apart, first: str) -> None:
    await does(apart, calls("dave", "r2"))
    await apart.at_home(*calls("team", ringMode="all"))
    await apart.at_home(*e.stop(CAROL, callee="team"))
    told = await apart.carry(first) + await apart.carry()
    assert "dave-phone" not in groups.stopped(told)
    assert (await apart.invite(DAVES))["state"] == "PENDING"


async def test_the_end_of_a_group_call_spares_anothers_leg(apart: Apart) -> None:
    await apart.at_home(*calls("crew"))
    await apart.carry()
    await apart.at_home(*calls("team", ringMode="all"))
    await apart.at_home(*e.stop(CAROL, callee="team"))
    told = await apart.carry("leg_cancel") + await apart.carry()
    assert "dave-phone" not in groups.stopped(told)
    assert (await apart.invite(DAVES))["state"] == "PENDING"


async def test_the_end_of_a_group_call_that_overtakes_its_beginning_spares_anothers_leg(apart: Apart) -> None:
    await apart.at_home(*calls("crew"))
    await apart.at_home(*calls("team", ringMode="all"))
    await apart.at_home(*e.stop(CAROL, callee="team"))
    await apart.carry("leg_cancel")
    told = await apart.carry()
    assert groups.rung(told).count("dave-phone") == 1
    assert (await apart.invite(DAVES))["group"] == "crew"


async def test_an_update_of_a_group_call_spares_the_direct_call(apart: Apart) -> None:
    await does(apart, calls("dave", "r2"))
    await apart.at_home(*calls("team", ringMode="all"))
    await apart.at_home(*calls("team", context="news"))
    told = await apart.carry("leg_update") + await apart.carry()
    assert "dave-phone" not in groups.rung(told)
    assert "context" not in await apart.invite(DAVES)
