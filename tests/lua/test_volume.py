"""Rules over thousands of calls of one peer. Lua passes some 8,000 values to a function at most.

Large work is done in pages: the commit of an event copies the index, and relays work on the copy to itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

from invites.store.settings import Settings
from tests.support import events as e
from tests.support.shard import Shard, of_type

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redis.asyncio import Redis

    from tests.support.events import Published
    from tests.support.shard import Notification

FAR_TOO_MANY: Final = 4_200
PAGE: Final = 10
MANY: Final = 2 * PAGE + 7
_BATCH: Final = 100


def _settings(**more: Any) -> Settings:
    """No limits, and short times."""
    given: dict[str, Any] = {
        "redial": "ring",
        "per_pair": 0,
        "per_callee": 0,
        "per_caller": 0,
        "caller_grace": 1_000,
    }
    return Settings(**{**given, "remove_after": 500, **more})


async def _calls(client: Redis, count: int, *devices: str, **more: Any) -> Shard:
    """A shard in which Alice has called Bob's devices very often, and none of the calls has been answered."""
    shard = await Shard.make(client, _settings(**more))
    await e.in_order(shard, *(e.registered(device, expires=60_000) for device in devices or ("phone",)))
    await shard.event(*e.registered("a", "alice", device="laptop", session="1"))
    for first in range(0, count, _BATCH):
        some = range(first, min(first + _BATCH, count))
        await shard.settle(*[await shard.publish(*e.invite(invite_id=str(number))) for number in some])
    await shard.told()
    return shard


async def _all(shard: Shard, *events: Published) -> list[Notification]:
    """The effects of the events, with all pages."""
    return await e.in_order(shard, *events) + await shard.fire()


async def _nothing_is_left(shard: Shard) -> None:
    assert [key async for key in shard.client.scan_iter(match=shard.keys.base + "todo*")] == []
    assert await shard.dead() == []


async def _states(shard: Shard, count: int) -> list[dict[str, str]]:
    return [await e.states(shard, f"alice|{number}|bob") for number in range(count)]


def _completed(told: Sequence[Notification]) -> int:
    found = {one.payload["inviteId"] for one in of_type(told, "INVITE_COMPLETED")}
    assert len(found) == len(of_type(told, "INVITE_COMPLETED"))
    return len(found)


@pytest.mark.parametrize(
    "end",
    [e.disconnected("a", "alice"), e.left("alice"), e.room_closed(), e.disconnected("phone")],
    ids=["caller lost", "caller leaves", "room closed", "callee lost"],
)
async def test_all_of_thousands_of_calls_end(client: Redis, end: Published) -> None:
    shard = await _calls(client, FAR_TOO_MANY)
    told = await _all(shard, end)
    shard.now += 1_000
    told += await shard.fire()
    assert _completed(told) == FAR_TOO_MANY
    await _nothing_is_left(shard)


async def test_a_device_that_lapses_rings_on_for_all_its_calls(client: Redis) -> None:
    shard = await _calls(client, MANY, remove_after=0, ring_timeout=90_000)
    shard.now += 60_000
    assert _completed(await shard.fire()) == 0
    assert await _states(shard, MANY) == [{"phone": "CALLED"}] * MANY
    shard.now += 30_000
    assert _completed(await shard.fire()) == MANY
    await _nothing_is_left(shard)


async def test_a_device_that_comes_back_rings_for_all_its_calls_again(client: Redis) -> None:
    shard = await _calls(client, MANY)
    assert _completed(await _all(shard, e.disconnected("phone"))) == 0
    assert await _states(shard, MANY) == [{"phone": "AWAY"}] * MANY
    shard.now += 100
    told = await _all(shard, e.registered("phone"))
    assert len(of_type(told, "invitation")) == MANY
    shard.now += 1_000
    assert await shard.fire() == []
    assert await _states(shard, MANY) == [{"phone": "CALLED"}] * MANY
    await _nothing_is_left(shard)


async def test_a_device_that_is_back_before_all_pages_have_lost_it_stays_where_it_was(client: Redis) -> None:
    shard = await _calls(client, MANY)
    told = await _all(shard, e.disconnected("phone"), e.registered("phone", session="new"))
    assert len(of_type(told, "invitation")) == MANY
    shard.now += 1_000
    assert await shard.fire() == []
    assert await _states(shard, MANY) == [{"phone": "CALLED"}] * MANY
    await _nothing_is_left(shard)


async def test_a_grace_that_ends_before_all_pages_know_of_it_ends_all_calls(client: Redis) -> None:
    shard = await _calls(client, MANY)
    await shard.event(*e.disconnected("phone"))
    shard.now += 500
    assert _completed(await shard.fire()) == MANY
    await _nothing_is_left(shard)


async def test_a_caller_that_comes_back_keeps_all_its_calls(client: Redis) -> None:
    shard = await _calls(client, MANY)
    await _all(shard, e.disconnected("a", "alice"))
    told = await _all(shard, e.registered("a2", "alice", device="laptop"))
    shard.now += 2_000
    assert told + await shard.fire() == []
    callers = {(await shard.invite(f"alice|{number}|bob"))["caller"] for number in range(MANY)}
    assert callers == {"a2"}
    await _nothing_is_left(shard)


async def test_a_caller_that_is_back_and_lost_again_before_all_pages_are_done_loses_all_its_calls(
    client: Redis,
) -> None:
    shard = await _calls(client, MANY)
    await _all(shard, e.disconnected("a", "alice"))
    told = await _all(shard, e.registered("a2", "alice", device="laptop"), e.disconnected("a2", "alice"))
    shard.now += 1_000
    told += await shard.fire()
    shard.now += 1_000
    assert _completed(told + await shard.fire()) == MANY
    await _nothing_is_left(shard)


async def test_the_user_is_busy_for_all_other_calls(client: Redis) -> None:
    shard = await _calls(client, MANY, "phone", "tablet", only_one_device_with_invitations=True)
    told = await _all(shard, e.accept("phone", invite_id="0"))
    assert sum("tablet" in one.peers for one in of_type(told, "invitationCancel")) == MANY
    assert (await _states(shard, MANY))[1:] == [{"phone": "CALLED", "tablet": "REJECTED"}] * (MANY - 1)
    await _nothing_is_left(shard)


async def test_a_service_stops_one_of_many(client: Redis) -> None:
    shard = await _calls(client, MANY)
    told = await _all(shard, ("stopInvite", {"inviteId": "17", "callee": "bob"}))
    [record] = of_type(told, "INVITE_COMPLETED")
    assert (record.payload["inviteId"], record.payload["error"]) == ("17", 487)
    await _nothing_is_left(shard)


async def test_a_late_device_hears_of_all_ends(client: Redis) -> None:
    shard = await _calls(client, MANY, "phone", "tablet")
    await _all(shard, e.disconnected("tablet"))
    await _all(shard, e.room_closed())
    told = await _all(shard, e.registered("tablet"))
    assert sum(one.peers == ["tablet"] for one in of_type(told, "invitationCancel")) == MANY
    await _nothing_is_left(shard)


async def test_a_renewal_reads_no_calls(client: Redis) -> None:
    shard = await _calls(client, MANY)
    before = await shard.client.info("commandstats")
    assert await _all(shard, e.registered("phone", expires=60_000)) == []
    after = await shard.client.info("commandstats")
    read = "cmdstat_hgetall"
    assert after[read]["calls"] == before[read]["calls"]


async def test_a_list_of_invitations_ends_at_50(client: Redis) -> None:
    shard = await _calls(client, 51)
    [answer] = await shard.event(*e.invitations("phone"))
    assert (len(answer.payload["invitations"]), answer.payload["more"]) == (50, True)
    await shard.event(*e.stop(invite_id="7"))
    [answer] = await shard.event(*e.invitations("phone"))
    assert len(answer.payload["invitations"]) == 50
    assert "more" not in answer.payload


async def test_a_list_of_invitations_ends_at_256_kib(client: Redis) -> None:
    shard = await Shard.make(client, _settings())
    await shard.event(*e.registered("phone"))
    for number in range(45):
        context, mediatypes = {"text": "x" * 4_000}, ["audio"] * 500
        await shard.event(*e.invite(invite_id=str(number), context=context, mediatypes=mediatypes))
    answer = (await shard.event(*e.invitations("phone")))[-1]
    assert (20 < len(answer.payload["invitations"]) < 45, answer.payload["more"]) == (True, True)


async def test_all_members_of_a_large_room_hear_who_comes_and_goes(client: Redis) -> None:
    shard = await Shard.make(client)
    members = {f"m{number}" for number in range(2_500)}
    await shard.settle(*[await shard.publish(*e.joined(member)) for member in sorted(members)])
    await shard.fire()
    for kind, event in (("userJoined", e.joined("bob")), ("userLeft", e.left("bob"))):
        told = of_type(await _all(shard, event), kind)
        assert {user for one in told for user in one.users} == members
        assert max(len(one.users) for one in told) <= 300
    await _all(shard, e.room_closed())
    assert not await shard.client.exists(shard.keys.room_members("r"))
    await _nothing_is_left(shard)


async def test_members_who_have_joined_after_the_close_stay(client: Redis) -> None:
    shard = await Shard.make(client)
    early = [await shard.publish(*e.joined(f"m{number}")) for number in range(600)]
    close = await shard.publish(*e.room_closed())
    late = [await shard.publish(*e.joined(f"late{number}")) for number in range(600)]
    await shard.settle(*early, *late)
    await shard.settle(close)
    await shard.fire()
    left = {name.decode() for name in await shard.client.hkeys(shard.keys.room_members("r"))}
    assert left == {f"late{number}" for number in range(600)}
    await _nothing_is_left(shard)
