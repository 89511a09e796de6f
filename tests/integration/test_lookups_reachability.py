"""Who is reached by the Reachability service, which is asked exactly once for each invite."""

from __future__ import annotations

import json
import logging
from typing import Any

import msgspec
import pytest

from invites.sippo import Reachability
from tests.support import events as e
from tests.support import lookups
from tests.support.shard import peer
from tests.support.waiting import wait_until
from tests.support.worker import Json
from workers.lab.fake_sippo import Directory

NUMBER = "+34600"


def _peer(address: str = "bob", id_: str | None = None) -> Json:
    return {"address": address, "type": "PEER", "id": id_}


def _push(address: str, id_: str) -> Json:
    return {"address": address, "type": "PUSH", "id": id_, "platform": "ios"}


def _pstn(address: str = NUMBER) -> Json:
    return {"address": address, "type": "PSTN"}


def _knowing(name: str, kind: str, *candidates: Json, **more: Any) -> Directory:
    known = lookups.directory()
    answer = {"candidatesType": kind, "candidates": candidates, **more}
    known.resources[name] = msgspec.convert(answer, Reachability)
    return known


async def _once(worker: lookups.LookupWorker, invites: int = 1) -> None:
    assert worker.asked == {"reachability": invites}


# --- users


@pytest.mark.parametrize("flags", [{}, {"resolveGroups": True, "resolvePush": True}], ids=["off", "on"])
async def test_registered_peers_count_and_the_flags_do_not(valkey_url: str, flags: Json) -> None:
    async with lookups.worker(valkey_url, lookups.REACHABILITY | flags) as worker:
        told = await worker.call(e.registered("tablet"), e.invite())
        assert lookups.rung(told) == {"tablet"}
        assert await worker.candidates() == {"tablet": "PEER bob", "bob-phone": "PUSH bob"}
        await _once(worker)
        await worker.call(e.invite(to="carol", invite_id="2"), invite_id="2")
        assert await worker.candidates("carol", "2") == {"c1": "PUSH carol", "c2": "PUSH carol"}
        await _once(worker, 2)


async def test_peers_that_are_connected_elsewhere_ring(valkey_url: str) -> None:
    elsewhere = [_peer(id_="x"), _peer(id_="tablet"), _peer(id_="x"), _peer()]
    async with lookups.worker(
        valkey_url, lookups.REACHABILITY, known=_knowing("bob", "user", *elsewhere)
    ) as worker:
        told = await worker.call(e.registered("tablet", device="d"), e.invite())
        (invitation,) = [one for one in told if one.type == "invitation"]
        assert sorted(invitation.peers) == ["tablet", "x"]
        await worker.publish(("ringing", {"peer": peer("x", "bob"), "from": "alice", "inviteId": "1"}))
        await worker.heard("inviteProgress", code=180)
        await worker.publish(e.disconnected("x"), e.decline("tablet", errorCode=486))
        assert (await worker.heard("inviteRejected"))[0].payload["code"] == 486


async def test_a_peer_that_goes_while_it_is_looked_up_is_not_rung(valkey_url: str) -> None:
    known = _knowing("bob", "user", _peer(id_="x"), _peer(id_="y"))
    async with lookups.worker(valkey_url, lookups.REACHABILITY, known=known) as worker:
        await worker.publish(e.invite(), e.disconnected("x"))
        assert lookups.rung(await worker.heard_of()) == {"y"}


async def test_the_inviting_peer_and_its_users_devices_are_not_rung(valkey_url: str) -> None:
    known = _knowing("alice", "user", _peer("alice", "a"), _peer("alice", "a2"), _push("alice", "p"))
    async with lookups.worker(valkey_url, lookups.REACHABILITY, known=known) as worker:
        assert lookups.rejected(await worker.call(e.invite(to="alice"))) == (480, "unreachable")


@pytest.mark.parametrize(("to", "said"), [("nobody", (404, "not_found")), ("dave", (480, "unreachable"))])
async def test_who_has_no_candidate_is_known_or_not(valkey_url: str, to: str, said: tuple[int, str]) -> None:
    async with lookups.worker(valkey_url, lookups.REACHABILITY) as worker:
        assert lookups.rejected(await worker.call(e.trunk("any"), e.invite(to=to))) == said
        await _once(worker)


# --- phones


async def test_a_number_rings_the_trunk_that_leads_there(valkey_url: str) -> None:
    async with lookups.worker(valkey_url, lookups.REACHABILITY) as worker:
        told = await worker.call(e.trunk("any"), e.trunk("spain", r"\+34\d+"), e.invite(to=NUMBER))
        assert lookups.rung(told) == {"spain"}
        assert await worker.candidates(NUMBER) == {"spain": f"PSTN {NUMBER}"}
        await _once(worker)


@pytest.mark.parametrize("kind", ["user", "phone"])
async def test_the_number_of_a_candidate_decides_not_the_callee(valkey_url: str, kind: str) -> None:
    known = _knowing("bob", kind, _peer(), _pstn())
    async with lookups.worker(valkey_url, lookups.REACHABILITY, known=known) as worker:
        trunks = e.trunk("any"), e.trunk("bobs", "bob"), e.trunk("spain", r"\+34\d+")
        told = await worker.call(*trunks, e.registered("tablet"), e.invite())
        assert lookups.rung(told) == {"tablet", "spain"}
        assert await worker.candidates() == {"tablet": "PEER bob", "spain": f"PSTN {NUMBER}"}


async def test_a_number_without_a_trunk_is_unreachable(valkey_url: str) -> None:
    async with lookups.worker(valkey_url, lookups.REACHABILITY) as worker:
        assert lookups.rejected(await worker.call(e.trunk("spain", "none"), e.invite(to=NUMBER))) == (
            480,
            "unreachable",
        )


# --- groups


async def test_members_ring_in_the_order_in_which_they_appear_first(valkey_url: str) -> None:
    candidates = [
        _push("bob", "bob-phone"),
        _peer("alice", "a2"),
        _pstn(),
        _peer("carol", "cx"),
        _peer(),
        _push("carol", "c1"),
        _push("carol", "c1"),
        _peer("dave"),
    ]
    async with lookups.worker(
        valkey_url, lookups.REACHABILITY, known=_knowing("sales", "group", *candidates)
    ) as worker:
        told = await worker.call(
            e.trunk("spain", r"\+34\d+"), e.registered("d", "dave"), e.invite(to="sales")
        )
        assert lookups.rung(told) == {"spain", "cx", "d"}
        assert await worker.candidates("bob") == {"bob-phone": "PUSH bob"}
        assert await worker.candidates("carol") == {"cx": "PEER carol", "c1": "PUSH carol"}
        assert await worker.candidates(NUMBER) == {"spain": f"PSTN {NUMBER}"}
        legs = await worker.client.hgetall("invites:{0}:legs:alice|1|sales")
        places = {name.decode(): json.loads(raw)["at"] for name, raw in legs.items()}
        assert places == {"bob": 1, NUMBER: 2, "carol": 3, "dave": 4}
        await _once(worker)


async def test_a_group_may_ring_one_after_the_other(valkey_url: str) -> None:
    known = _knowing("sales", "group", _peer(), _peer("dave"), ringingStrategy="sequential")
    async with lookups.worker(valkey_url, lookups.REACHABILITY, known=known) as worker:
        told = await worker.call(e.registered("b"), e.registered("d", "dave"), e.invite(to="sales"))
        assert lookups.rung(told) == {"b"}
        await worker.publish(e.decline("b"))
        await worker.heard("invitation", 2)
        assert lookups.rung(await worker.told("1")) == {"b", "d"}
        await _once(worker)


async def test_a_member_without_anything_is_not_called_over_a_trunk(valkey_url: str) -> None:
    known = _knowing("sales", "group", _peer(), _peer("dave"))
    async with lookups.worker(valkey_url, lookups.REACHABILITY, known=known) as worker:
        assert lookups.rung(
            await worker.call(e.trunk("any"), e.registered("d", "dave"), e.invite(to="sales"))
        ) == {"d"}


async def test_a_group_may_be_too_large(valkey_url: str, caplog: pytest.LogCaptureFixture) -> None:
    known = _knowing("all", "group", *(_peer(f"u{number}", f"p{number}") for number in range(3)))
    async with lookups.worker(valkey_url, lookups.REACHABILITY, known=known, maxGroupSize=2) as worker:
        assert lookups.rejected(await worker.call(e.invite(to="all"))) == (403, "too_many")
        warning = "Group all has 3 members, which is more than maxGroupSize (2): nobody is called"
        await wait_until(lambda: warning in caplog.messages, "it is logged")


async def test_an_empty_group_is_unreachable(valkey_url: str) -> None:
    async with lookups.worker(valkey_url, lookups.REACHABILITY, known=_knowing("sales", "group")) as worker:
        assert lookups.rejected(await worker.call(e.invite(to="sales"))) == (480, "unreachable")


# --- the log


async def test_the_log_says_what_the_service_said(valkey_url: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    known = _knowing("bob", "user", _peer(), _push("bob", "bob-phone"))
    said = (
        '[{"address":"bob","type":"PEER","id":null,"platform":null},'
        '{"address":"bob","type":"PUSH","id":"bob-phone","platform":"ios"}]'
    )
    order = [
        "Trying to get candidates for bob",
        f"Resource 'bob' is a user with candidates: {said}",
        (
            'got candidates [{"peer":"bob-phone","address":"bob","type":"PUSH","state":"PUSHING",'
            '"device":"bob-phone","push":true,"unheard":true}]'
        ),
    ]
    async with lookups.worker(valkey_url, lookups.REACHABILITY, known=known) as worker:
        await worker.call(e.invite())
        await wait_until(lambda: order[-1] in caplog.messages, "the call is logged")
    assert [message for message in caplog.messages if message in order] == order
    assert "Trying to resolve group bob" not in caplog.messages
