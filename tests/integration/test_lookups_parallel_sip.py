"""parallelSip with lookups: users go out to the phone network first, groups do not; returned calls are looked up."""

from __future__ import annotations

from typing import Final

import pytest

from tests.support import events as e
from tests.support import lookups
from tests.support.shard import peer
from tests.support.worker import Json
from workers.lab.fake_sippo import status

GATEWAY: Final = peer("t", "sip")
_PUSH: Final[Json] = {"resolvePush": True}


@pytest.mark.parametrize(
    ("basic", "out", "back"),
    [
        (_PUSH, {}, {"pushDevices": 1}),
        (lookups.LEGACY, {"groups": 1, "pushDevices": 1}, {"groups": 1, "pushDevices": 2}),
        (lookups.REACHABILITY, {"reachability": 1}, {"reachability": 2}),
    ],
    ids=["push", "all", "reachability"],
)
async def test_a_phone_is_woken_once_the_call_came_back(
    valkey_url: str, basic: Json, out: dict[str, int], back: dict[str, int]
) -> None:
    async with lookups.worker(valkey_url, basic, parallelSip=True) as worker:
        assert lookups.rung(await worker.call(e.trunk("t"), e.invite())) == {"t"}
        assert await worker.candidates() == {"t": "PSTN bob"}
        assert worker.asked == out
        await worker.publish(e.registered("tablet"), e.invite(by=GATEWAY, invite_id="back", returnOf=e.REF))
        await worker.heard("invitation", 2)
        assert await worker.candidates() == {"t": "PSTN bob", "tablet": "PEER bob", "bob-phone": "PUSH bob"}
        assert worker.asked == back


@pytest.mark.parametrize(
    "event", [e.decline("t", "sip", to="bob", errorCode=503), e.disconnected("t", "sip")]
)
async def test_a_phone_is_woken_once_the_phone_network_has_failed(
    valkey_url: str, event: e.Published
) -> None:
    async with lookups.worker(valkey_url, _PUSH, parallelSip=True) as worker:
        await worker.call(e.trunk("t"), e.registered("tablet"), e.invite())
        await worker.publish(event)
        await worker.heard("invitation", 2)
        assert await worker.candidates() == {"t": "PSTN bob", "tablet": "PEER bob", "bob-phone": "PUSH bob"}
        assert worker.asked == {"pushDevices": 1}


@pytest.mark.parametrize(
    ("basic", "back"),
    [(lookups.LEGACY, {"pushDevices": 1}), (lookups.REACHABILITY, {"reachability": 1})],
    ids=["all", "reachability"],
)
async def test_who_is_registered_is_no_group_and_goes_out_at_once(
    valkey_url: str, basic: Json, back: dict[str, int]
) -> None:
    async with lookups.worker(valkey_url, basic, parallelSip=True) as worker:
        assert lookups.rung(await worker.call(e.trunk("t"), e.registered("tablet"), e.invite())) == {"t"}
        assert worker.asked == {}
        await worker.publish(e.invite(by=GATEWAY, invite_id="back", returnOf=e.REF))
        await worker.heard("invitation", 2)
        assert worker.asked == back


async def test_registered_devices_ring_although_phones_are_not_known(valkey_url: str) -> None:
    async with lookups.worker(
        valkey_url, {**_PUSH, "wac": {"timeout": 50, "deadline": 50}}, parallelSip=True
    ) as worker:
        await worker.call(e.trunk("t"), e.invite())
        worker.fake_sippo.fault(status(500))
        await worker.publish(e.registered("tablet"), e.invite(by=GATEWAY, invite_id="back", returnOf=e.REF))
        await worker.heard("invitation", 2)
        assert await worker.candidates() == {"t": "PSTN bob", "tablet": "PEER bob"}


async def test_a_leg_that_comes_back_too_late_is_refused_without_a_look_up(valkey_url: str) -> None:
    async with lookups.worker(valkey_url, _PUSH, parallelSip=True) as worker:
        await worker.publish(e.invite(by=GATEWAY, invite_id="back", returnOf=e.REF))
        assert lookups.rejected(await worker.heard_of("back")) == (410, "not_found")
        assert worker.asked == {}


@pytest.mark.parametrize("basic", [lookups.LEGACY, lookups.REACHABILITY], ids=["all", "reachability"])
async def test_a_group_does_not_go_out(valkey_url: str, basic: Json) -> None:
    async with lookups.worker(valkey_url, basic, parallelSip=True) as worker:
        told = await worker.call(e.trunk("t"), e.registered("b"), e.invite(to="sales"))
        assert "b" in lookups.rung(told)
        assert await worker.candidates("sales") == {}


@pytest.mark.parametrize("basic", [lookups.LEGACY, lookups.REACHABILITY], ids=["all", "reachability"])
async def test_a_call_goes_out_although_nobody_knows_whether_it_is_to_a_group(
    valkey_url: str, basic: Json
) -> None:
    async with lookups.worker(
        valkey_url, {**basic, "wac": {"timeout": 50, "deadline": 50}}, parallelSip=True
    ) as worker:
        worker.fake_sippo.fault(status(500))
        assert lookups.rung(await worker.call(e.trunk("t"), e.invite())) == {"t"}


async def test_without_a_trunk_it_is_as_without_the_flag(valkey_url: str) -> None:
    async with lookups.worker(valkey_url, lookups.LEGACY, parallelSip=True) as worker:
        await worker.call(e.trunk("t", r"\+34\d+"), e.invite())
        assert await worker.candidates() == {"bob-phone": "PUSH bob"}
        assert worker.asked == {"groups": 1, "pushDevices": 1}


async def test_the_number_of_a_phone_goes_out(valkey_url: str) -> None:
    async with lookups.worker(valkey_url, lookups.REACHABILITY, parallelSip=True) as worker:
        assert lookups.rung(await worker.call(e.trunk("t", r"\+34\d+"), e.invite(to="+34600"))) == {"t"}
        assert worker.asked == {"reachability": 1}
