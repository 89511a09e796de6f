"""Faults of sippo-server do not keep reachable devices from ringing."""

from __future__ import annotations

import json
import logging
from typing import Final

import pytest

from invites.sippo import ApiCall
from tests.support import events as e
from tests.support import lookups
from tests.support.waiting import wait_until
from tests.support.worker import Json
from workers.lab.fake_sippo import (
    GARBAGE,
    HANG,
    OVERSIZE,
    RESET,
    WRONG_TYPES,
    Fault,
    GroupEntry,
    limited,
    slow,
    status,
)

# Each call ends long before a slow request.
BRIEF: Final = {"wac": {"timeout": 80, "deadline": 80}}
# Nobody tries again before that.
LATER: Final = limited(30)
_FAULTS: Final = (
    slow(5_000),
    HANG,
    RESET,
    GARBAGE,
    WRONG_TYPES,
    OVERSIZE,
    limited(30),
    *map(status, (302, 400, 401, 403, 500, 503)),
)
_MODES: Final = {"push": {"resolvePush": True}, "all": lookups.LEGACY, "reachability": lookups.REACHABILITY}


def _named(fault: Fault) -> str:
    return f"{fault.kind}-{fault.status}"


@pytest.mark.parametrize("mode", _MODES)
@pytest.mark.parametrize("fault", _FAULTS, ids=_named)
async def test_live_peers_ring_all_the_same(
    valkey_url: str, fault: Fault, mode: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with lookups.worker(valkey_url, {**_MODES[mode], **BRIEF}) as worker:
        worker.fake_sippo.fault(fault)
        told = await worker.call(e.registered("tablet"), e.invite())
        assert lookups.rung(told) == {"tablet"}
        assert await worker.candidates() == {"tablet": "PEER bob"}
    warnings = [one.getMessage() for one in caplog.records if one.levelno == logging.WARNING]
    (said,) = [one for one in warnings if one.startswith("Other ways to reach bob are not known: ")]
    assert "sippo-server call" in said


@pytest.mark.parametrize("mode", _MODES)
@pytest.mark.parametrize("fault", _FAULTS, ids=_named)
async def test_with_nobody_to_ring_the_inviter_hears_500(valkey_url: str, fault: Fault, mode: str) -> None:
    async with lookups.worker(valkey_url, {**_MODES[mode], **BRIEF}) as worker:
        worker.fake_sippo.fault(fault)
        told = await worker.call(e.invite())
        assert lookups.rejected(told) == (500, "internal")
        (record,) = [one.payload for one in told if one.type == "INVITE_COMPLETED"]
        assert (record["state"], record["error"], record["candidates"]) == ("DECLINED", 500, [])
        worker.fake_sippo.heal()
        assert await worker.pending() == 0


@pytest.mark.parametrize("mode", _MODES)
async def test_a_trunk_rings_in_place_of_what_is_not_known(valkey_url: str, mode: str) -> None:
    async with lookups.worker(valkey_url, {**_MODES[mode], **BRIEF}) as worker:
        worker.fake_sippo.fault(status(503))
        assert lookups.rung(await worker.call(e.trunk("any"), e.invite(to="+34600"))) == {"any"}


async def test_what_fails_for_a_moment_is_asked_for_again(valkey_url: str) -> None:
    async with lookups.worker(valkey_url, lookups.LEGACY) as worker:
        worker.fake_sippo.fault(status(503), ApiCall.PUSH_DEVICES, times=1)
        worker.fake_sippo.fault(RESET, ApiCall.GROUPS, times=1)
        await worker.call(e.invite())
        assert await worker.candidates() == {"bob-phone": "PUSH bob"}
        assert worker.asked == {"groups": 2, "pushDevices": 2}


async def test_a_token_that_is_refused_costs_one_login_more(valkey_url: str) -> None:
    async with lookups.worker(valkey_url, {"resolvePush": True}) as worker:
        await worker.call(e.invite())
        await worker.fake_sippo.pushed("bob-phone")  # the push of this call needs a token, too
        worker.fake_sippo.revoke_tokens()
        await worker.call(e.invite(invite_id="2"), invite_id="2")
        assert await worker.candidates("bob", "2") == {"bob-phone": "PUSH bob"}
        assert (worker.fake_sippo.requests["login"], worker.asked) == (2, {"pushDevices": 3})


# --- one of several answers is missing


async def test_push_devices_ring_although_the_group_is_not_known(valkey_url: str) -> None:
    async with lookups.worker(valkey_url, lookups.LEGACY) as worker:
        worker.fake_sippo.fault(LATER, ApiCall.GROUPS)
        await worker.call(e.invite())
        assert await worker.candidates() == {"bob-phone": "PUSH bob"}
        assert lookups.rejected(await worker.call(e.invite(to="nobody", invite_id="2"), invite_id="2")) == (
            500,
            "internal",
        )


async def test_members_ring_although_their_push_devices_are_not_known(
    valkey_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with lookups.worker(valkey_url, lookups.LEGACY) as worker:
        worker.fake_sippo.fault(LATER, ApiCall.PUSH_DEVICES)
        told = await worker.call(e.registered("b"), e.registered("d", "dave"), e.invite(to="sales"))
        assert lookups.rung(told) == {"b", "d"}
        await worker.publish(e.decline("b"), e.decline("d", "dave", errorCode=486))
        assert (await worker.heard("inviteRejected"))[0].payload["code"] == 603
        (record,) = [one.payload for one in await worker.told("1") if one.type == "INVITE_COMPLETED"]
        reasons = {one["address"]: one["endReason"] for one in record["candidates"]}
        assert reasons == {"bob": 603, "carol": 500, "dave": 486}
    expected = "The push devices of 3 of the 3 members of sales are not known: "
    assert any(message.startswith(expected) for message in caplog.messages)


async def test_a_group_of_whom_nothing_is_known_could_not_be_asked_for(valkey_url: str) -> None:
    async with lookups.worker(valkey_url, lookups.LEGACY) as worker:
        worker.fake_sippo.fault(LATER, ApiCall.PUSH_DEVICES)
        assert lookups.rejected(await worker.call(e.invite(to="sales"))) == (500, "internal")


async def test_only_the_members_whose_devices_are_not_known_are_left_alone(valkey_url: str) -> None:
    known = lookups.directory()
    known.groups["two"] = GroupEntry(["bob", "carol"])
    async with lookups.worker(valkey_url, lookups.LEGACY, known=known) as worker:
        # The first is about the callee itself.
        worker.fake_sippo.fault(LATER, ApiCall.PUSH_DEVICES, times=2)
        await worker.call(e.invite(to="two"))
        found = [await worker.candidates(member) for member in ("bob", "carol")]
        assert sorted(map(len, found)) in ([0, 1], [0, 2])


# --- dead, and back


def _rounds(worker: lookups.LookupWorker) -> int:
    return sum(worker.asked.values())


async def test_once_it_is_known_to_be_dead_nobody_waits(valkey_url: str) -> None:
    wac = {"wac": {"timeout": 300, "deadline": 300, "breakAfter": 3, "breakFor": 60_000}}
    async with lookups.worker(valkey_url, {"resolvePush": True} | wac) as worker:
        worker.fake_sippo.fault(HANG, ApiCall.PUSH_DEVICES)
        await worker.call(e.registered("tablet"), e.invite())
        for number in range(2, 5):
            await worker.call(e.invite(invite_id=str(number)), invite_id=str(number))
        asked = _rounds(worker)
        assert asked == 3
        for number in range(5, 55):
            await worker.publish(e.invite(invite_id=str(number)))
        await worker.heard("invitation", 54)
        assert _rounds(worker) == asked
        metrics, _ = worker.service.metrics.exposition("")
        assert b'invites_sippo_breaker_open{call="pushDevices"} 1.0' in metrics
        assert b'invites_sippo_call_seconds_count{call="pushDevices",outcome="open"} 51.0' in metrics


async def test_once_it_is_back_it_is_asked_again(valkey_url: str) -> None:
    wac = {"wac": {"timeout": 60, "deadline": 60, "breakAfter": 1, "breakFor": 50}}
    async with lookups.worker(valkey_url, {"resolvePush": True} | wac) as worker:
        worker.fake_sippo.fault(status(500))
        assert lookups.rejected(await worker.call(e.invite())) == (500, "internal")
        worker.fake_sippo.heal()
        numbers = iter(range(2, 1_000))

        async def found() -> bool:
            number = str(next(numbers))
            await worker.call(e.invite(invite_id=number), invite_id=number)
            return await worker.candidates("bob", number) == {"bob-phone": "PUSH bob"}

        await wait_until(found, "push devices are found again")


# --- secrets


@pytest.mark.parametrize("mode", _MODES)
async def test_secrets_are_in_nothing_that_the_worker_shows(
    valkey_url: str, mode: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    basic: Json = {**_MODES[mode], "wac": {"timeout": 60, "deadline": 60, "breakAfter": 3, "breakFor": 1}}
    async with lookups.worker(valkey_url, basic) as worker:
        await worker.call(e.invite())
        secrets = [lookups.PASSWORD, *worker.fake_sippo._tokens]
        for number, fault in enumerate(_FAULTS, 2):
            worker.fake_sippo.fault(fault)
            await worker.call(e.invite(invite_id=str(number)), invite_id=str(number))
            worker.fake_sippo.heal()
            worker.fake_sippo.revoke_tokens()
        secrets += worker.fake_sippo._tokens
        metrics, _ = worker.service.metrics.exposition("")
        shown = [metrics.decode(), json.dumps([one.payload for one in await worker.told()])]
        shown += [repr(worker.service), repr(worker.service.sippo), repr(vars(worker.service))]
        assert lookups.counted(await worker.told())["INVITE_COMPLETED"] >= 1
    shown += [f"{one.getMessage()} {one.exc_text} {one.args!r}" for one in caplog.records]
    for text in shown:
        for secret in [*secrets, "Bearer"]:
            assert secret not in text
