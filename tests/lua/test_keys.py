"""The keys that an operator reads with redis-cli: names, types, contents; and the hash tag of every key."""

import json
from typing import Any

import pytest
from redis.asyncio import Redis

from invites.commit import Settings
from tests.calling import (
    GRACE,
    REF,
    RING,
    accept,
    bob_rings,
    decline,
    disconnected,
    in_order,
    invitations,
    invite,
    joined,
    later,
    left,
    registered,
    request,
    ringing,
    room_closed,
    stop,
    trunk,
)
from tests.conftest import MakeShard
from tests.driving import Shard

pytestmark = pytest.mark.one_shard

BASE = "invites:{0}:"


async def test_the_names_and_types_are_those_of_the_contract(make_shard: MakeShard) -> None:
    shard = await make_shard(GRACE)
    await bob_rings(shard, "phone", "tablet")
    await in_order(shard, joined("alice"), disconnected("tablet"))
    kinds = {
        f"invite:{REF}": b"hash",
        f"candidates:{REF}": b"hash",
        "registry:bob": b"hash",
        "pending:bob": b"set",
        "room-members:r": b"hash",
        "room-invites:r": b"zset",
        "grace:tablet": b"string",
        "timers": b"zset",
        "events": b"stream",
        "notifications": b"stream",
    }
    assert {name: await shard.client.type(BASE + name) for name in kinds} == kinds


async def test_a_pending_invite_holds_plain_readable_values(shard: Shard) -> None:
    await bob_rings(shard, "phone", mediatypes=["audio"], context={"n": 1})
    found = await shard.invite(REF)
    expected = {
        "state": "PENDING", "from": "alice", "to": "bob", "inviteId": "1", "room": "r", "caller": "a",
        "inviteRequest": "0", "mediatypes": '["audio"]', "context": '{"n":1}', "createdAt": str(shard.now),
        "expiresAt": str(shard.now + RING),
    }  # fmt: skip
    assert {name: found.get(name) for name in expected} == expected


async def test_an_ended_invite_says_how_it_ended(shard: Shard) -> None:
    await bob_rings(shard, "phone")
    shard.now += 5
    await shard.event(*accept("phone"))
    found = await shard.invite(REF)
    expected = {
        "state": "ACCEPTED", "code": "200", "reason": "accepted", "whoAccepted": "bob", "acceptedBy": "phone",
        "endedAt": str(shard.now),
    }  # fmt: skip
    assert {name: found.get(name) for name in expected} == expected


async def test_a_candidate_is_a_small_json_object(shard: Shard) -> None:
    await in_order(shard, registered("phone", device="d-1"), registered("tablet"), invite())
    await shard.event(*decline("tablet", errorCode=486))
    assert await shard.candidates(REF) == {
        "phone": {"address": "bob", "type": "PEER", "state": "CALLED", "device": "d-1"},
        "tablet": {"address": "bob", "type": "PEER", "state": "DECLINED", "endReason": 486},
    }


async def test_a_registration_is_a_json_object(shard: Shard) -> None:
    await in_order(shard, registered("phone", device="d-1", session="s", type="IOS"), trunk("t", r"\d+"))
    phone = json.loads((await shard.hash(shard.keys.registry("bob")))["phone"])
    assert (
        phone.items()
        >= {"id": "phone", "user": "bob", "type": "IOS", "device": "d-1", "session": "s"}.items()
    )
    gateway = json.loads((await shard.hash(shard.keys.trunks))["t"])
    assert gateway.items() >= {"id": "t", "user": "sip", "trunk": True, "match": r"\d+"}.items()


async def test_pending_names_what_rings_the_user_now(shard: Shard) -> None:
    await bob_rings(shard, "phone")
    await in_order(shard, invite(invite_id="2"), invite(invite_id="3"), stop(invite_id="2"))
    await shard.event(*accept("phone", invite_id="3"))
    assert await shard.client.smembers(shard.keys.pending("bob")) == {REF.encode()}


async def test_the_timers_are_scored_by_when_they_fall_due(shard: Shard) -> None:
    await in_order(shard, registered("phone", expires=7_000), invite(expires=5_000))
    found = await shard.client.zrange(shard.keys.timers, 0, -1, withscores=True)
    assert found == [(b"ring|alice|1|bob", shard.now + 5_000.0), (b"lapse|bob|phone", shard.now + 7_000.0)]


async def test_the_time_of_room_invites_is_their_creation(shard: Shard) -> None:
    await bob_rings(shard, "phone")
    found = await shard.client.zrange(shard.keys.room_invites("r"), 0, -1, withscores=True)
    assert found == [(REF.encode(), float(shard.now))]


async def test_a_finished_call_leaves_nothing_but_what_is_kept_for_a_while(shard: Shard) -> None:
    await bob_rings(shard, "phone", "tablet")
    await in_order(shard, ringing("phone"), accept("phone"), disconnected("phone"), disconnected("tablet"))
    await shard.event(*disconnected("a", "alice"))
    await later(shard, 3_600_000)
    left_over = {key.decode().removeprefix(BASE) async for key in shard.client.scan_iter()}
    assert left_over == {"events", "notifications", "push", "relay"}


@pytest.fixture(params=["valkey", "redis"])
async def two_clients(request: pytest.FixtureRequest) -> Any:
    """A client and a second one that sees every command of the first, also those inside a script."""
    url: str = request.getfixturevalue("valkey_server" if request.param == "valkey" else "redis_server")
    async with Redis.from_url(url) as client, Redis.from_url(url) as watching:
        await client.flushall()
        yield client, watching


async def test_every_key_that_a_commit_touches_carries_the_hash_tag_of_its_shard(two_clients: Any) -> None:
    client, watching = two_clients
    shard = await Shard.make(client, Settings(remove_after=5_000, parallel_sip=True))
    history = [
        trunk("t", r"never"), registered("phone", device="d", expires=9_000), registered("tablet"), joined("alice"),
        joined("bob"), invite(), ringing("phone"), invite(context=1), disconnected("phone"),
        registered("phone2", device="d"), disconnected("a", "alice"), decline("tablet", errorCode=486),
        invitations("phone"), accept("phone2"), stop(), stop(None, invite_id="9"), trunk("t"), invite(invite_id="2"),
        request(invite_id="3"), left("alice"), room_closed(), ("nonsense", {}),
    ]  # fmt: skip
    touched: set[str] = set()
    async with watching.monitor() as monitor:
        await in_order(shard, *history)
        await later(shard, 70_000)
        await client.execute_command("ECHO", "the end")
        async for command in monitor.listen():
            words = command["command"].split()
            if words[:1] == ["ECHO"]:
                break
            if command["client_type"] == "lua":
                touched |= _keys(words)
    assert len(touched) > 40
    assert {key for key in touched if not key.startswith(BASE)} == set()


def _keys(words: list[str]) -> set[str]:
    """Return the keys of a command of the scripts."""
    command = words[0].upper()
    if command == "TIME":
        return set()
    if command in {"MGET", "DEL", "EXISTS"}:
        return set(words[1:])
    return {words[1] if command not in {"XGROUP", "XINFO"} else words[2]}
