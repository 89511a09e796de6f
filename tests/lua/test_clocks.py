"""Entry ids from the future, and servers of shards whose clocks differ."""

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from redis.asyncio import Redis

from invites.events.operation import Operation
from invites.events.protocol import decode_event
from invites.events.routing import routing_key
from invites.keys import shard_of
from invites.store.settings import Settings
from tests.support import events as e
from tests.support.shard import Notification, Shard, peer
from tests.support.shards import Shards

GRACE = 10_000
TOLERANCE = 5_000
FUTURE = ["9999999999999-1", "10000000000000-1", "1764252877000000-0", "18446744073709551615-7"]
AHEAD = 3_000


async def _at(shard: Shard, entry: str, event: e.Published) -> list[Notification]:
    """Settle an event that was published with this id."""
    await shard.settle(await shard.publish(*event, entry))
    return await shard.told()


# -- ids from the future


@pytest.mark.one_shard
@pytest.mark.parametrize("entry", FUTURE)
async def test_an_invite_from_the_future_ends_with_its_caller(shard: Shard, entry: str) -> None:
    await shard.event(*e.registered("phone"))
    told = await _at(shard, entry, e.invite())
    assert e.one(told, "invitation").id.startswith(f"0-{entry}-")
    [(_, shown, counts_as)] = [fact for fact in shard.outcomes[0].facts if fact[0] == "entry_ahead"]
    assert (shown, counts_as) == (entry, f"{shard.now}-{entry.partition('-')[2]}")
    assert (await shard.invite(e.REF))["entry"] == counts_as

    # All later entries of this stream are from the future, too.
    after = entry.partition("-")[0] + "-9"
    shard.now += 1_000
    await _at(shard, after, e.disconnected("a", "alice"))
    assert e.outcome(await e.later(shard, GRACE), "inviteRejected") == (487, "caller_gone")


@pytest.mark.one_shard
@pytest.mark.parametrize(("ahead", "counts_as_now"), [(TOLERANCE, False), (TOLERANCE + 1, True)])
async def test_an_id_may_be_5_s_ahead(shard: Shard, ahead: int, counts_as_now: bool) -> None:
    entry = f"{shard.now + ahead}-7"
    await _at(shard, entry, e.registered("phone"))
    [stored] = (await shard.hash(shard.keys.registry("bob"))).values()
    assert json.loads(stored)["at"] == (f"{shard.now}-7" if counts_as_now else entry)


@pytest.mark.one_shard
async def test_a_registration_from_the_future_ends(shard: Shard) -> None:
    await _at(shard, "9999999999999-1", e.registered("phone", session="s"))
    [stored] = (await shard.hash(shard.keys.registry("bob"))).values()
    assert json.loads(stored)["at"] == f"{shard.now}-1"
    shard.now += 1
    await _at(shard, "9999999999999-2", e.disconnected("phone"))
    assert await shard.hash(shard.keys.registry("bob")) == {}


@pytest.mark.one_shard
async def test_ids_within_the_tolerance_keep_their_order(shard: Shard) -> None:
    early, late = f"{shard.now + TOLERANCE - 1}-5", f"{shard.now + TOLERANCE}-0"
    gone = await shard.publish(*e.disconnected("phone"), early)
    await shard.settle(await shard.publish(*e.registered("phone"), late))
    await shard.settle(gone)
    assert set(await shard.hash(shard.keys.registry("bob"))) == {"phone"}
    assert not [fact for fact in shard.outcomes[0].facts if fact[0] == "entry_ahead"]


@pytest.mark.one_shard
async def test_an_event_from_the_future_is_settled_once(shard: Shard) -> None:
    await shard.event(*e.registered("phone"))
    operation = await shard.publish(*e.invite(), "9999999999999-1")
    await shard.settle(operation)
    shard.now += 5
    await shard.settle(operation)
    assert [each.type for each in await shard.told()].count("invitation") == 1


@pytest.mark.one_shard
async def test_a_dead_letter_names_the_id_that_its_entry_has(shard: Shard) -> None:
    await _at(shard, "9999999999999-1", ("invit", {}))
    [letter] = await shard.dead()
    assert letter["entry"] == "9999999999999-1"


@pytest.mark.one_shard
async def test_a_room_closed_in_the_future_can_be_used_again(shard: Shard) -> None:
    await shard.event(*e.registered("phone"))
    await _at(shard, "9999999999999-1", e.room_closed())
    shard.now += 1
    told = await _at(shard, "9999999999999-2", e.invite())
    assert e.recipients(told, "invitation") == {"phone"}


# -- clocks that differ


class Skewed(Shards):
    """Shards whose servers have clocks of their own. Publishers find the right shard."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.ahead = dict.fromkeys(range(len(self.parts)), 0)

    def _sync(self) -> None:
        for part in self.parts:
            part.now = self.now + self.ahead[part.keys.shard]

    async def publish(
        self, kind: str, payload: Mapping[str, Any] | bytes, entry: str | None = None, *, traced: bool = False
    ) -> Operation:
        raw = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        part = self.parts[shard_of(routing_key(decode_event(kind, raw)), len(self.parts))]
        self._sync()
        operation = await part.publish(kind, raw, entry or self.entry_id(part.now), traced=traced)
        self._published[operation.entry] = part
        return operation


SHARDS = 3


def _named(shard: int) -> str:
    """An id that belongs to the shard."""
    return next(name for name in map("n{}".format, range(100)) if shard_of(name, SHARDS) == shard)


CALLER, CALLEE, ROOM = map(_named, range(SHARDS))
A_CALL = e.invite(by=peer("a", CALLER), to=CALLEE, room=ROOM)


@pytest.fixture(params=[-AHEAD, 0, AHEAD])
async def skewed(valkey_server: str, request: pytest.FixtureRequest) -> AsyncIterator[Skewed]:
    """Shards of a caller, a callee and a room, while the call rings. The callee's server is ahead, or behind."""
    async with Redis.from_url(valkey_server) as client:
        await client.flushall()
        shards = await Skewed.make_several(lambda _: client, Settings(), SHARDS)
        shards.ahead[1] = request.param
        await shards.event(*e.registered("phone", CALLEE))
        assert e.recipients(await shards.event(*A_CALL), "invitation") == {"phone"}
        yield shards


async def test_a_room_that_closes_after_the_invite_ends_it(skewed: Skewed) -> None:
    skewed.now += 2_000
    told = await skewed.event(*e.room_closed(ROOM))
    assert e.outcome(told, "inviteRejected") == (487, "room_closed")


async def test_an_inviter_that_leaves_the_room_ends_its_invite(skewed: Skewed) -> None:
    skewed.now += 2_000
    told = await skewed.event(*e.left(CALLER, ROOM))
    assert e.outcome(told, "inviteRejected") == (487, "caller_gone")


async def test_a_caller_that_goes_after_the_invite_ends_it(skewed: Skewed) -> None:
    skewed.now += 2_000
    await skewed.event(*e.disconnected("a", CALLER))
    assert e.outcome(await e.later(skewed, GRACE), "inviteRejected") == (487, "caller_gone")


async def test_a_device_that_is_back_as_another_peer_hears_the_outcome(skewed: Skewed) -> None:
    skewed.now += 1_000
    await skewed.event(*e.registered("a", CALLER, device="laptop"))
    skewed.now += 1_000
    await skewed.event(*e.registered("a2", CALLER, device="laptop"))
    skewed.now += 1_000
    told = await skewed.event(*e.accept("phone", CALLEE, from_=CALLER))
    assert e.one(told, "inviteAccepted").peers == ["a2"]
    assert await e.later(skewed, GRACE) == []


async def test_a_caller_that_repeats_its_invite_after_it_was_lost_is_there(skewed: Skewed) -> None:
    skewed.now += 2_000
    await skewed.event(*e.disconnected("a", CALLER))
    skewed.now += AHEAD + 1
    await skewed.event(*A_CALL)
    assert await e.later(skewed, GRACE) == []
