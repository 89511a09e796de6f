"""What operators and the HTTP API read of invites, whatever Redis holds."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from invites.events.protocol import Peer
from invites.keys import CANDIDATE, Keys
from invites.queries.invites import MOST, InviteQueries
from invites.queries.overview import backlog

pytestmark = pytest.mark.leaks  # these tests write the keys themselves

Fields = dict[Any, Any]

KEYS = Keys()
_REF = "alice|i1|bob"
_FIELDS: Fields = {
    "state": "PENDING",
    "from": "alice",
    "to": "bob",
    "inviteId": "i1",
    "room": "r1",
    "caller": "a1",
    "inviteRequest": "0",
    "mediatypes": '["audio","video"]',
    "context": '{"subject":"tea","list":[]}',
    "createdAt": "1763853969123",
    "expiresAt": "1763854029123",
}
_ITEM = {
    "inviteId": "i1",
    "from": "alice",
    "to": "bob",
    "group": None,
    "room": "r1",
    "state": "PENDING",
    "inviteRequest": False,
    "mediatypes": ["audio", "video"],
    "context": {"subject": "tea", "list": []},
    "startedAt": 1763853969123,
    "expiresAt": 1763854029123,
}


def _json(value: object) -> Any:
    return json.loads(msgspec.json.encode(value))


async def _ring(client: Redis, ref: str = _REF, user: str = "bob", **fields: Any) -> None:
    values: Fields = {**_FIELDS, **fields}
    await client.hset(KEYS.invite(ref), mapping=values)
    await client.sadd(KEYS.pending(user), ref)


async def test_what_rings_for_a_user(client: Redis) -> None:
    await _ring(client)
    await _ring(client, "carol|i2|bob", createdAt="1763853960000", inviteId="i2", **{"from": "carol"})
    await _ring(client, "dave|i3|bob", state="ACCEPTED", inviteId="i3")
    await client.sadd(KEYS.pending("bob"), "erin|expired|bob")
    found = _json((await InviteQueries(client, KEYS).pending("bob"))[0])
    assert [one["inviteId"] for one in found] == ["i2", "i1"], "the oldest first, and only what rings"
    assert found[1] == _ITEM


async def test_nothing_rings_for_a_stranger(client: Redis) -> None:
    assert await InviteQueries(client, KEYS).pending("nobody") == ([], False)


async def test_a_list_says_that_there_are_more(client: Redis) -> None:
    for number in range(MOST + 1):
        ref = f"alice|{number}|bob"
        await client.sadd(KEYS.pending("bob"), ref)
        await client.hset(KEYS.invite(ref), mapping={"state": "PENDING"})
    found, more = await InviteQueries(client, KEYS).pending("bob")
    assert (len(found), more) == (MOST, True)
    await client.srem(KEYS.pending("bob"), "alice|0|bob")
    found, more = await InviteQueries(client, KEYS).pending("bob")
    assert (len(found), more) == (MOST, False)


async def _rings(client: Redis, candidates: Fields) -> None:
    await client.hset(
        KEYS.invite(_REF), mapping={f"{CANDIDATE}{name}": one for name, one in candidates.items()}
    )


def _device(state: str, user: str, **more: str) -> str:
    return json.dumps({"address": "110", "type": "PSTN", "state": state, "user": user, **more})


@pytest.mark.parametrize(
    ("peer", "candidates", "shown"),
    [
        (Peer("gw", "sip"), {"gw": _device("CALLED", "sip")}, True),
        (Peer("gw", "sip"), {"gw": _device("DECLINED", "sip")}, False),
        (
            Peer("gw", "sip"),
            {"gw": json.dumps({"address": "sip", "state": "CALLED", "silenced": True})},
            False,
        ),
        (Peer("gw2", "sip", "d"), {"gw": _device("DECLINED", "sip", device="d")}, False),
        (Peer("gw2", "sip", "e"), {"gw": _device("DECLINED", "sip", device="d")}, True),
        (Peer("gw", "sip"), {"|gw": _device("REJECTED", "bob"), "gw": _device("CALLED", "sip")}, True),
        (Peer("gw", "sip"), {"|gw": _device("REJECTED", "bob")}, True),
        (Peer("gw", "sip", "d"), {"|d": _device("REJECTED", "bob", device="d")}, True),
        (Peer("gw", "sip"), {"gw": "no JSON"}, True),
    ],
)
async def test_what_a_device_has_declined_is_left_out_for_it_alone(
    client: Redis, peer: Peer, candidates: dict[Any, Any], shown: bool
) -> None:
    """The device of a push may have the same id as another user's peer."""
    await _ring(client, user="sip")
    await _rings(client, candidates)
    assert len(await InviteQueries(client, KEYS).open_to(peer)) == shown


async def test_one_invite_with_its_candidates(client: Redis) -> None:
    await _ring(
        client, state="ACCEPTED", code="200", reason="accepted", whoAccepted="bob", endedAt="1763853970000"
    )
    won = {
        "address": "bob",
        "type": "PEER",
        "state": "ACCEPTED",
        "endReason": 200,
        "device": "phone",
        "told": True,
    }
    lost = {"address": "bob", "type": "PEER", "state": "CANCELLED", "endReason": 487}
    await _rings(client, {"b2": json.dumps(lost), "b1": json.dumps(won)})
    assert _json(await InviteQueries(client, KEYS).invite(_REF)) == {
        **_ITEM,
        "state": "ACCEPTED",
        "code": 200,
        "reason": "accepted",
        "whoAccepted": "bob",
        "endedAt": 1763853970000,
        "candidates": [
            {
                "peer": "b1",
                "address": "bob",
                "type": "PEER",
                "state": "ACCEPTED",
                "endReason": 200,
                "device": "phone",
            },
            {
                "peer": "b2",
                "address": "bob",
                "type": "PEER",
                "state": "CANCELLED",
                "endReason": 487,
                "device": None,
            },
        ],
    }


async def test_an_unknown_invite_is_none(client: Redis) -> None:
    assert await InviteQueries(client, KEYS).invite("a|b|c") is None


async def test_what_is_missing_is_null(client: Redis) -> None:
    await client.hset(KEYS.invite(_REF), "state", "PENDING")
    found = _json(await InviteQueries(client, KEYS).invite(_REF))
    assert found.pop("state") == "PENDING"
    assert found.pop("candidates") == []
    assert found.keys() >= _ITEM.keys() - {"state"}
    implied = {"from": "alice", "inviteId": "i1", "to": "bob", "inviteRequest": False}
    assert found == dict.fromkeys(found, None) | implied


async def test_values_of_a_wrong_shape_are_null(client: Redis) -> None:
    wrong: Fields = {
        "createdAt": "soon",
        "expiresAt": "1.5",
        "context": "{broken",
        "mediatypes": b"\xff",
        "room": b"\xff",
    }
    await client.hset(KEYS.invite(_REF), mapping={**_FIELDS, **wrong})
    candidates: Fields = {
        "b1": "no json",
        "b2": "[]",
        "b3": '{"address":5,"endReason":"x","state":null}',
        "b4": b"\xff",
    }
    await _rings(client, candidates)
    found = _json(await InviteQueries(client, KEYS).invite(_REF))
    assert [found[name] for name in ("startedAt", "expiresAt", "context", "mediatypes")] == [None] * 4
    assert found["room"] == "\ufffd"
    assert [one.pop("peer") for one in found["candidates"]] == ["b1", "b2", "b3", "b4"]
    assert all(set(one.values()) == {None} for one in found["candidates"])


async def test_keys_of_a_wrong_type_count_as_empty(client: Redis) -> None:
    queries = InviteQueries(client, KEYS)
    await client.set(KEYS.pending("bob"), "x")
    assert await queries.pending("bob") == ([], False)
    await client.delete(KEYS.pending("bob"))
    await client.sadd(KEYS.pending("bob"), _REF)
    await client.set(KEYS.invite(_REF), "x")
    assert await queries.pending("bob") == ([], False)
    assert await queries.invite(_REF) is None
    await client.delete(KEYS.invite(_REF))
    await client.hset(KEYS.invite(_REF), mapping=_FIELDS)
    found = await queries.invite(_REF)
    assert found is not None
    assert found.candidates == []


async def test_other_errors_of_the_server_are_not_hidden(client: Redis, valkey_url: str) -> None:
    await client.execute_command("ACL", "SETUSER", "blind", "on", "nopass", "~*", "+@connection")
    async with Redis.from_url(valkey_url.replace("redis://", "redis://blind:x@")) as blind:
        for reading in (
            InviteQueries(blind, KEYS).pending("bob"),
            InviteQueries(blind, KEYS).invite(_REF),
            backlog(blind, KEYS),
        ):
            with pytest.raises(ResponseError, match="no permissions"):
                await reading
    await client.execute_command("ACL", "DELUSER", "blind")


@pytest.mark.parametrize("value", ["", "x", "1-1|2", "1-1|1|soon|", "1-1|1||", "|||||"])
async def test_a_broken_state_of_a_user_harms_nobody(client: Redis, value: str) -> None:
    await client.set(KEYS.user_state("bob"), value)
    await client.set(KEYS.busy("bob"), "no hash")
    state = _json(await InviteQueries(client, KEYS).state("bob"))
    assert state | {"dnd": None} == {"user": "bob", "dnd": None, "until": None, "block": [], "busy": {}}


async def test_a_state_in_a_key_of_another_type_is_none(client: Redis) -> None:
    await client.sadd(KEYS.user_state("bob"), "x")
    state = await InviteQueries(client, KEYS).state("bob")
    assert (state.dnd, state.until, state.block) == (False, None, [])


async def test_quiet_without_an_end(client: Redis) -> None:
    await client.set(KEYS.user_state("bob"), "1-1|1||alice|")
    state = await InviteQueries(client, KEYS).state("bob")
    assert (state.dnd, state.until, state.block) == (True, None, ["alice"])
