"""Answers of sippo-server, over real HTTP: lookups, pushes, paths, connections, limits, the cache."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from invites.config import Wac
from invites.sippo import ApiCall, CallOutcome, PushDevice, PushResult, SippoServer, client
from tests.support import sippo
from tests.support.waiting import wait_until
from workers.lab.fake_sippo import HANG, FakeSippo, slow, status

_ODD_IDS = (
    "a/b",
    "a?b=c&d#e",
    "100%",
    "a%2Fb",
    "ünï-❤",
    "peter@acme.com",
    "+34600",
    "...",
    "a;b",
    "x\\y",
    "'\"",
)


async def test_groups() -> None:
    async with sippo.pair() as pair:
        sales, night = await pair.client.group("sales"), await pair.client.group("night")
        assert sales is not None
        assert (sales.id, sales.name, sales.participants) == ("sales", "Sales", ("alice", "bob"))
        assert not sales.sequential
        assert night is not None
        assert night.participants == ("bob", "alice", "bob")
        assert night.sequential
        assert await pair.client.group("nobody") is None
        assert pair.watch.calls == {("groups", "found"): 2, ("groups", "unknown"): 1}


async def test_push_devices() -> None:
    async with sippo.pair() as pair:
        found = await pair.client.push_devices("alice")
        assert found == [PushDevice("alice-phone", "ios"), PushDevice("alice-web", "web")]
        assert await pair.client.push_devices("bob") == []
        assert await pair.client.push_devices("nobody") is None


async def test_reachability() -> None:
    async with sippo.pair() as pair:
        user = await pair.client.reachability("alice")
        assert user is not None
        assert user.candidates_type == "user"
        assert [(one.type, one.id, one.platform) for one in user.candidates] == [
            ("PEER", None, None),
            ("PUSH", "alice-phone", "ios"),
            ("PUSH", "alice-web", "web"),
        ]
        group = await pair.client.reachability("night")
        assert group is not None
        assert group.candidates_type == "group"
        assert group.sequential
        assert {one.address for one in group.candidates} == {"alice", "bob"}
        phone = await pair.client.reachability("+34600000000")
        assert phone is not None
        assert phone.candidates_type == "phone"
        assert [(one.address, one.type) for one in phone.candidates] == [("+34600000000", "PSTN")]
        assert await pair.client.reachability("nobody") is None
        assert pair.fake_sippo.requests == {"login": 1, "reachability": 4}, "one request each"


async def test_pushes() -> None:
    async with sippo.pair() as pair:
        assert await pair.client.push(sippo.job()) is PushResult.TAKEN
        assert await pair.client.push(sippo.job("unknown-phone")) is PushResult.GONE
        pair.fake_sippo.directory.gone.add("alice/alice-web")
        assert await pair.client.push(sippo.job("alice-web")) is PushResult.GONE
        (push,) = pair.fake_sippo.pushes
        assert msgspec.to_builtins(msgspec.json.decode(msgspec.json.encode(push.job))) == {
            "user": "alice",
            "device": "alice-phone",
            "type": "invitation",
            "ttl": 30,
            "collapseId": "bob|1|alice",
            "payload": {"inviteId": "1", "context": {"a": []}},
        }
        assert pair.watch.calls == {("push", "found"): 1, ("push", "unknown"): 2}


async def test_a_push_whose_time_is_over_is_not_sent() -> None:
    async with sippo.pair() as pair:
        await sippo.fails(pair.client.push(sippo.job(ttl=0)), CallOutcome.TIMEOUT)
        assert pair.fake_sippo.requests == {}


async def test_a_push_is_not_tried_longer_than_its_ttl() -> None:
    time = sippo.FakeClock()
    async with sippo.pair(timing=time.timing(), deadline=60_000, breakAfter=1000) as pair:
        pair.fake_sippo.fault(status(503), ApiCall.PUSH)
        await sippo.fails(pair.client.push(sippo.job(ttl=5)), CallOutcome.ERROR)
        assert 4 < sum(time.pauses) < 5


@pytest.mark.parametrize("call", sippo.LOOK_UPS)
async def test_ids_arrive_as_they_are(call: ApiCall) -> None:
    async with sippo.pair() as pair:
        for name in _ODD_IDS:
            await pair.look_up(call, name)
        assert pair.fake_sippo.asked[1:] == [(call, name) for name in _ODD_IDS]


@pytest.mark.parametrize("name", [".", ".."])
async def test_an_id_that_would_lead_to_another_path_is_nobody(name: str) -> None:
    async with sippo.pair() as pair:
        for call in sippo.LOOK_UPS:
            assert await pair.look_up(call, name) is None
        assert pair.fake_sippo.requests == {}


async def test_paths_of_another_installation() -> None:
    paths = {
        "login": "/auth?realm=x",
        "groups": "/v2/groups/{id}.json",
        "pushDevices": "/v2/devices?of={user}&all=1",
        "reachability": "/r/{resource}",
        "push": "/v2/push",
    }
    wac: Any = {"username": "u", "password": "p", "paths": paths}
    made = sippo.wac_of("http://unused", **wac)
    async with (
        FakeSippo(sippo.directory(), username="u", password="p", paths=made.paths) as fake_sippo,
        SippoServer(sippo.wac_of(f"{fake_sippo.address}/", **wac)) as client,
    ):
        assert await client.group("sales") is not None
        assert await client.push_devices("alice") is not None
        assert await client.push_devices("a&b/c") is None
        assert await client.reachability("alice") is not None
        assert await client.push(sippo.job()) is PushResult.TAKEN
        assert fake_sippo.asked[3] == ("pushDevices", "a&b/c")


async def test_one_connection_serves_many_calls() -> None:
    async with sippo.pair(breakAfter=1000, deadline=1000) as pair:
        for _ in range(5):
            for call in sippo.LOOK_UPS:
                await pair.look_up(call)
            await pair.client.push(sippo.job())
            await pair.client.push(sippo.job("unknown"))
            pair.fake_sippo.fault(status(500), times=1)
            await pair.client.group("sales")
        assert pair.fake_sippo.connections == 1


@pytest.mark.parametrize("lacking", ["address", "username", "password"])
def test_without_address_or_credentials_there_is_no_client(lacking: str) -> None:
    wac = msgspec.structs.replace(sippo.wac_of("http://wac:8000"), **{lacking: None})
    with pytest.raises(ValueError, match="needs an address, a username and a password"):
        SippoServer(wac)
    with pytest.raises(ValueError, match="needs an address"):
        SippoServer(Wac())


async def test_a_client_that_is_not_open_says_so() -> None:
    client = SippoServer(sippo.wac_of("http://127.0.0.1:1"))
    with pytest.raises(RuntimeError, match="not open"):
        await client.group("sales")


async def test_no_more_requests_at_once_than_allowed() -> None:
    async with sippo.pair(maxConcurrent=3) as pair:
        await pair.client.group("sales")
        pair.fake_sippo.fault(slow(10))
        found = await sippo.outcomes([pair.look_up(call) for call in sippo.LOOK_UPS * 5])
        assert found == {"NoneType": 5, "list": 5, "Reachability": 5}
        assert pair.fake_sippo.most_at_once == 3


async def test_who_gets_no_turn_in_time_is_told_so_and_pushes_have_turns_of_their_own() -> None:
    async with sippo.pair(maxConcurrent=1, timeout=50, deadline=50, breakAfter=1) as pair:
        await pair.client.group("sales")
        async with pair.client._slots[ApiCall.GROUPS]:
            error = await sippo.fails(pair.client.reachability("alice"), CallOutcome.BUSY)
            assert "because 1 others were under way all the time" in str(error)
            assert await pair.client.push(sippo.job()) is PushResult.TAKEN
        assert pair.fake_sippo.requests["reachability"] == 0
        assert await pair.client.reachability("alice") is not None, "which says nothing about sippo-server"


async def test_a_look_up_that_waits_for_its_turn_while_the_client_closes_is_lost() -> None:
    async with sippo.pair(maxConcurrent=1) as pair:
        await pair.client.group("sales")
        async with pair.client._slots[ApiCall.GROUPS]:
            waiting = asyncio.ensure_future(pair.client.reachability("alice"))
            await asyncio.sleep(0)
            await pair.client.__aexit__(None, None, None)
        await sippo.fails(waiting, CallOutcome.LOST)


async def test_a_look_up_that_is_cancelled_frees_its_turn_and_its_connection() -> None:
    async with sippo.pair(maxConcurrent=1) as pair:
        pair.fake_sippo.fault(HANG, ApiCall.GROUPS, times=1)
        hanging = asyncio.ensure_future(pair.client.group("sales"))
        await wait_until(lambda: pair.fake_sippo.requests["groups"] == 1, "it is under way")
        hanging.cancel()
        with pytest.raises(asyncio.CancelledError):
            await hanging
        await wait_until(lambda: pair.fake_sippo.under_way == 0, "its connection is closed")
        assert await pair.client.group("sales") is not None
        assert pair.watch.calls == {("groups", "found"): 1}, "a cancelled call has no outcome"


async def test_groups_are_asked_for_each_time_unless_they_are_to_be_remembered() -> None:
    async with sippo.pair() as pair:
        for _ in range(3):
            assert await pair.client.group("sales") is not None
        assert pair.fake_sippo.requests["groups"] == 3


async def test_groups_are_remembered_for_a_time_also_that_there_are_none() -> None:
    time = sippo.FakeClock()
    async with sippo.pair(timing=time.timing(), groupCache=2000) as pair:
        for _ in range(3):
            assert await pair.client.group("sales") is not None
            assert await pair.client.group("nobody") is None
        assert pair.fake_sippo.requests["groups"] == 2
        time.now += 1.999
        await pair.client.group("sales")
        assert pair.fake_sippo.requests["groups"] == 2
        time.now += 0.001
        pair.fake_sippo.directory.groups["sales"].participants.append("carol")
        found = await pair.client.group("sales")
        assert found is not None
        assert found.participants[-1] == "carol"
        assert pair.fake_sippo.requests["groups"] == 3


async def test_the_group_that_was_not_asked_for_longest_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "_MOST_GROUPS", 2)
    async with sippo.pair(groupCache=60_000) as pair:
        for name in ("a", "b", "a", "c", "a", "b"):
            await pair.client.group(name)
        assert [name for call, name in pair.fake_sippo.asked if call == ApiCall.GROUPS] == [
            "a",
            "b",
            "c",
            "b",
        ]


async def test_what_could_not_be_had_is_not_remembered() -> None:
    async with sippo.pair(groupCache=60_000) as pair:
        pair.fake_sippo.fault(status(400), ApiCall.GROUPS, times=1)
        await sippo.fails(pair.client.group("sales"), CallOutcome.REFUSED)
        assert await pair.client.group("sales") is not None
