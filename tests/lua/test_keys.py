"""The keys that an operator reads with redis-cli: names, types, contents; and the hash tag of every key."""

import json
from typing import Any

import pytest
from redis.asyncio import Redis

from invites.store.settings import Settings
from tests.support import events as e
from tests.support import push_jobs
from tests.support.shard import MakeShard, Shard

pytestmark = pytest.mark.one_shard

BASE = "invites:{0}:"


async def test_the_names_and_types_are_those_of_the_contract(make_shard: MakeShard) -> None:
    shard = await make_shard(e.GRACE)
    await e.bob_rings(shard, "phone", "tablet")
    await e.in_order(shard, e.joined("alice"), e.disconnected("tablet"))
    kinds = {
        f"invite:{e.REF}": b"hash",
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
    await e.bob_rings(shard, "phone", mediatypes=["audio"], context={"n": 1})
    found = await shard.invite(e.REF)
    expected = {
        "state": "PENDING", "from": "alice", "to": "bob", "inviteId": "1", "room": "r", "caller": "a",
        "inviteRequest": "0", "mediatypes": '["audio"]', "context": '{"n":1}', "createdAt": str(shard.now),
        "expiresAt": str(shard.now + e.RING),
    }  # fmt: skip
    assert {name: found.get(name) for name in expected} == expected


async def test_an_ended_invite_says_how_it_ended(shard: Shard) -> None:
    await e.bob_rings(shard, "phone")
    shard.now += 5
    await shard.event(*e.accept("phone"))
    found = await shard.invite(e.REF)
    expected = {
        "state": "ACCEPTED", "code": "200", "reason": "accepted", "whoAccepted": "bob", "acceptedBy": "phone",
        "endedAt": str(shard.now),
    }  # fmt: skip
    assert {name: found.get(name) for name in expected} == expected


async def test_an_ended_invite_keeps_what_operators_and_late_events_need(shard: Shard) -> None:
    await e.bob_rings(shard, "phone", mediatypes=["audio"], context={"n": 1}, fromDetails={"name": "A"})
    await e.in_order(shard, e.ringing("phone"), e.accept("phone"))
    assert (await shard.hash(shard.keys.invite(e.REF))).keys() - {"createdAt"} == {
        "state", "caller", "expiresAt", "entry", "room", "@phone", "endedAt", "acceptedBy", "story",
    }  # fmt: skip


@pytest.mark.parametrize("event", [e.stop(), e.decline("phone", errorCode=603)], ids=["stop", "decline"])
async def test_one_that_was_not_accepted_keeps_code_and_reason(shard: Shard, event: e.Published) -> None:
    await e.bob_rings(shard, "phone", context={"n": 1})
    await shard.event(*event)
    found = await shard.hash(shard.keys.invite(e.REF))
    assert {"code", "reason"} <= found.keys()
    assert "context" not in found


async def test_one_that_ends_at_once_keeps_no_context(shard: Shard) -> None:
    await shard.event(*e.invite(context={"n": 1}, fromDetails={"name": "A"}))
    found = await shard.hash(shard.keys.invite(e.REF))
    assert found["code"] == "404"
    assert found.keys().isdisjoint({"context", "fromDetails"})


async def test_a_candidate_says_what_is_special_about_it(shard: Shard) -> None:
    await e.in_order(shard, e.registered("phone", device="d-1"), e.registered("tablet"), e.invite())
    await shard.event(*e.decline("tablet", errorCode=486))
    assert await shard.candidates(e.REF) == {
        "phone": {"address": "bob", "type": "PEER", "state": "CALLED", "device": "d-1"},
        "tablet": {"address": "bob", "type": "PEER", "state": "DECLINED", "endReason": 486},
    }


async def test_a_candidate_is_a_few_words(make_shard: MakeShard) -> None:
    shard = await make_shard(push_jobs.PUSH)
    push_jobs.sleeps(shard, "bob", "dev-2")
    await e.in_order(
        shard, e.registered("phone", device="dev-1"), e.registered("tablet", session="s"), e.invite()
    )
    await shard.event(*e.decline("phone", errorCode=486))
    found = await shard.invite(e.REF)
    assert {name: value for name, value in found.items() if name[0] == "@"} == {
        "@phone": "DECLINED:486 dev-1",
        "@tablet": 'CALLED {"session":"s"}',
        "@|dev-2": 'PUSHING dev-2 {"type":"PUSH","push":true,"unheard":true}',
    }


async def test_a_registration_is_a_json_object(shard: Shard) -> None:
    await e.in_order(
        shard, e.registered("phone", device="d-1", session="s", type="IOS"), e.trunk("t", r"\d+")
    )
    phone = json.loads((await shard.hash(shard.keys.registry("bob")))["phone"])
    assert (
        phone.items()
        >= {"id": "phone", "user": "bob", "type": "IOS", "device": "d-1", "session": "s"}.items()
    )
    gateway = json.loads((await shard.hash(shard.keys.trunks))["sip|t"])
    assert gateway.items() >= {"id": "t", "user": "sip", "trunk": True, "match": r"\d+"}.items()


async def test_pending_names_what_rings_the_user_now(beside: Shard) -> None:
    await e.bob_rings(beside, "phone")
    await e.in_order(beside, e.invite(invite_id="2"), e.invite(invite_id="3"), e.stop(invite_id="2"))
    await beside.event(*e.accept("phone", invite_id="3"))
    assert await beside.client.smembers(beside.keys.pending("bob")) == {e.REF.encode()}


async def test_the_timers_are_scored_by_when_they_fall_due(shard: Shard) -> None:
    await e.in_order(shard, e.registered("phone", expires=7_000), e.invite(expires=5_000))
    found = await shard.client.zrange(shard.keys.timers, 0, -1, withscores=True)
    assert found == [(b"ring|alice|1|bob", shard.now + 5_000.0), (b"lapse|bob|phone", shard.now + 7_000.0)]


async def test_the_time_of_room_invites_is_their_creation(shard: Shard) -> None:
    await e.bob_rings(shard, "phone")
    found = await shard.client.zrange(shard.keys.room_invites("r"), 0, -1, withscores=True)
    assert found == [(e.REF.encode(), float(shard.now))]


async def test_a_finished_call_leaves_nothing_but_what_is_kept_for_a_while(shard: Shard) -> None:
    await e.bob_rings(shard, "phone", "tablet")
    await e.in_order(
        shard, e.ringing("phone"), e.accept("phone"), e.disconnected("phone"), e.disconnected("tablet")
    )
    await shard.event(*e.disconnected("a", "alice"))
    await e.later(shard, 3_600_000)
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
        e.trunk("t", r"never"), e.registered("phone", device="d", expires=9_000), e.registered("tablet"),
        e.joined("alice"),
        e.joined("bob"), e.invite(), e.ringing("phone"), e.invite(context=1), e.disconnected("phone"),
        e.registered("phone2", device="d"), e.disconnected("a", "alice"), e.decline("tablet", errorCode=486),
        e.invitations("phone"), e.accept("phone2"), e.stop(), e.stop(None, invite_id="9"), e.trunk("t"),
        e.invite(invite_id="2"),
        e.request(invite_id="3"), e.left("alice"), e.room_closed(), ("nonsense", {}),
    ]  # fmt: skip
    touched: set[str] = set()
    async with watching.monitor() as monitor:
        await e.in_order(shard, *history)
        await e.later(shard, 70_000)
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
