"""A sippo-server that is dead costs no waiting; one that is back is noticed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from typing import Any, Final

import pytest

from invites.sippo import Call, Outcome, PushResult, Timing, client
from tests.support.sippo import LOOK_UPS, Asking, Time, asking, fails, job, outcomes
from tests.support.waiting import wait_until
from workers.lab.fake_sippo import GARBAGE, HANG, RESET, Fault, limited, slow, status

_FAILED: Final = (Outcome.ERROR, Outcome.LOST, Outcome.TIMEOUT)
# With the timing of `_once`, each call is one request.
_ONCE: Final[dict[str, Any]] = {"timeout": 1_000, "deadline": 1_000, "breakAfter": 3, "breakFor": 5_000}
# What hangs, hangs for longer than any test waits.
_PATIENT: Final = _ONCE | {"timeout": 20_000, "deadline": 20_000}


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a look-up wait for its probe, however busy the machine is."""
    monkeypatch.setattr(client, "_PROBE_PATIENCE_S", 20.0)


def _once(time: Time) -> Timing:
    """A first pause of 50 s, which is more than any call has."""
    return time.timing(jitter=lambda: 1_000.0)


async def _break(at: Asking, fault: Fault, call: Call = Call.GROUPS) -> None:
    """Log in, and let calls fail until they are not made any more."""
    await at.client.push_devices("nobody")
    at.fake_sippo.fault(fault, call)
    while (call, True) not in at.watch.changes:
        await fails(_asked(at, call), *_FAILED)


def _asked(at: Asking, call: Call) -> Awaitable[object]:
    return at.client.push(job()) if call is Call.PUSH else at.look_up(call)


@pytest.mark.parametrize(
    "fault", [HANG, RESET, status(500), status(503)], ids=["hang", "reset", "500", "503"]
)
@pytest.mark.parametrize("call", [Call.GROUPS, Call.PUSH])
async def test_a_dead_server_costs_no_waiting(call: Call, fault: Fault) -> None:
    time = Time()
    async with asking(timing=_once(time), **_ONCE) as at:
        await _break(at, fault, call)
        requests, pauses = at.fake_sippo.requests.copy(), list(time.pauses)
        for _ in range(500):
            await fails(_asked(at, call), Outcome.OPEN)
        assert (at.fake_sippo.requests, time.pauses) == (requests, pauses)
        assert at.watch.calls[call, "open"] == 500


async def test_it_opens_after_so_many_failures_in_a_row() -> None:
    async with asking(timing=_once(Time()), **_ONCE) as at:
        for _ in range(4):
            assert await at.client.group("sales") is not None
            at.fake_sippo.fault(status(500), times=2)
            await fails(at.client.group("sales"), Outcome.ERROR)
            await fails(at.client.group("sales"), Outcome.ERROR)
        assert at.watch.changes == []
        assert await at.client.group("sales") is not None
        at.fake_sippo.fault(status(500), times=3)
        for _ in range(3):
            await fails(at.client.group("sales"), Outcome.ERROR)
        assert at.watch.changes == [("groups", True)]
        await fails(at.client.group("sales"), Outcome.OPEN)


@pytest.mark.parametrize(
    "fault", [GARBAGE, limited(), status(400), status(404)], ids=["200", "429", "400", "404"]
)
async def test_whoever_answers_is_not_dead(fault: Fault) -> None:
    async with asking(timing=_once(Time()), **_ONCE) as at:
        at.fake_sippo.fault(fault, Call.GROUPS)
        for _ in range(10):
            await asyncio.gather(at.client.group("sales"), return_exceptions=True)
        at.fake_sippo.heal()
        assert await at.client.group("sales") is not None
        assert at.watch.changes == []


async def test_a_hundred_that_hang_open_it_within_the_limit_of_one_request() -> None:
    async with asking(timeout=300, deadline=5000, maxConcurrent=10, breakAfter=5, breakFor=60_000) as at:
        await at.client.group("sales")
        at.fake_sippo.fault(HANG)
        found = await outcomes([at.client.group("sales") for _ in range(100)])
        # Ten are sent, and one in place of each that fails until the fifth does. The others, who wait for their turn,
        # and those who would try again, are not any more.
        assert found["timeout"] + found["open"] == 100
        assert found["timeout"] <= 14
        assert 11 <= at.fake_sippo.requests["groups"] <= 15


async def test_repetitions_end_when_it_opens() -> None:
    time = Time()
    async with asking(timing=time.timing(), deadline=60_000, breakAfter=3) as at:
        at.fake_sippo.fault(status(500), Call.GROUPS)
        await fails(at.client.group("sales"), Outcome.ERROR)
        assert at.fake_sippo.requests["groups"] == 3
        assert time.pauses == pytest.approx([0.1, 0.2])


@pytest.mark.parametrize("call", [*LOOK_UPS, Call.PUSH])
async def test_after_the_pause_one_call_finds_out_and_the_others_do_not_wait(call: Call) -> None:
    time = Time()
    async with asking(timing=_once(time), **_ONCE) as at:
        await _break(at, status(500), call)
        at.fake_sippo.heal()
        time.now += 4.999
        await fails(_asked(at, call), Outcome.OPEN)
        time.now += 0.001
        sent = at.fake_sippo.requests[call]
        found = await outcomes([_asked(at, call) for _ in range(20)])
        assert found["open"] == 19
        assert at.fake_sippo.requests[call] == sent + 1
        await asyncio.gather(*[_asked(at, call) for _ in range(20)])
        assert at.watch.changes == [(call, True), (call, False)]


async def test_a_probe_that_fails_begins_the_pause_anew() -> None:
    time = Time()
    async with asking(timing=_once(time), **_ONCE) as at:
        await _break(at, status(500))
        for _ in range(3):
            time.now += 5
            sent = at.fake_sippo.requests["groups"]
            await fails(at.client.group("sales"), Outcome.ERROR)
            await fails(at.client.group("sales"), Outcome.OPEN)
            assert at.fake_sippo.requests["groups"] == sent + 1
        assert at.watch.changes == [("groups", True)]


async def test_a_look_up_that_is_the_probe_does_not_wait_for_what_hangs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client, "_PROBE_PATIENCE_S", 0.03)
    time = Time()
    async with asking(timing=time.timing(), **_PATIENT) as at:
        await _break(at, RESET)
        at.fake_sippo.fault(HANG, Call.GROUPS)
        time.now += 5
        await fails(at.client.group("sales"), Outcome.OPEN)
        await wait_until(lambda: at.fake_sippo.under_way == 1, "the probe still hangs")
        await fails(at.client.group("sales"), Outcome.OPEN)
        assert at.fake_sippo.under_way == 1


async def test_a_server_that_is_back_but_slow_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "_PROBE_PATIENCE_S", 0.03)
    time = Time()
    async with asking(timing=time.timing(), **_PATIENT) as at:
        await _break(at, RESET)
        at.fake_sippo.fault(slow(120), Call.GROUPS)
        time.now += 5
        await fails(at.client.group("sales"), Outcome.OPEN)
        await wait_until(lambda: ("groups", False) in at.watch.changes, "the probe has been answered")
        assert await at.client.group("sales") is not None


async def test_a_probe_whose_caller_is_cancelled_goes_on() -> None:
    time = Time()
    async with asking(timing=_once(time), **_ONCE) as at:
        await _break(at, status(500), Call.PUSH)
        at.fake_sippo.fault(slow(30), Call.PUSH)
        time.now += 5
        probing = asyncio.ensure_future(at.client.push(job()))
        await wait_until(lambda: at.fake_sippo.under_way == 1, "the probe is under way")
        probing.cancel()
        await wait_until(lambda: ("push", False) in at.watch.changes, "the probe has been answered")
        assert await at.client.push(job()) is PushResult.TAKEN


async def test_a_push_service_that_is_down_stops_no_look_up() -> None:
    async with asking(timing=_once(Time()), **_ONCE) as at:
        await _break(at, status(503), Call.PUSH)
        for call in LOOK_UPS:
            assert await at.look_up(call, "nobody") is None
        await fails(at.client.push(job()), Outcome.OPEN)


async def test_one_line_says_that_it_opens_and_one_that_it_closes(caplog: pytest.LogCaptureFixture) -> None:
    time = Time()
    with caplog.at_level(logging.INFO, "invites.sippo"):
        async with asking(timing=_once(time), **_ONCE) as at:
            await _break(at, status(500))
            for _ in range(20):
                await fails(at.client.group("sales"), Outcome.OPEN)
            time.now += 5
            await fails(at.client.group("sales"), Outcome.ERROR)
            at.fake_sippo.heal()
            time.now += 5
            assert await at.client.group("sales") is not None
    assert [record.getMessage() for record in caplog.records] == [
        "sippo-server does not answer to groups: it is not asked but for one request every 5000 ms.",
        "sippo-server answers to groups again.",
    ]
