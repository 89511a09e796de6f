"""A sippo-server that is dead costs no waiting; one that is back is noticed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from typing import Any, Final

import pytest
from tenacity import wait_fixed

from invites.sippo import ApiCall, CallOutcome, PushResult, Timing, client
from tests.support import sippo
from tests.support.waiting import wait_until
from workers.lab.fake_sippo import GARBAGE, HANG, RESET, Fault, limited, slow, status

_FAILED: Final = (CallOutcome.ERROR, CallOutcome.LOST, CallOutcome.TIMEOUT)
# With the timing of `_once`, each call is one request.
_ONCE: Final[dict[str, Any]] = {"timeout": 1_000, "deadline": 1_000, "breakAfter": 3, "breakFor": 5_000}
# A hanging request hangs for longer than any test waits.
_PATIENT: Final = _ONCE | {"timeout": 20_000, "deadline": 20_000}


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a lookup wait for its probe, however busy the machine is."""
    monkeypatch.setattr(client, "_PROBE_PATIENCE_S", 20.0)


def _once(time: sippo.FakeClock) -> Timing:
    """A first pause of 50 s, which is more than any call has."""
    return time.timing(wait_fixed(50))


async def _break(pair: sippo.Pair, fault: Fault, call: ApiCall = ApiCall.GROUPS) -> None:
    """Log in, and let calls fail until the breaker opens."""
    await pair.client.push_devices("nobody")
    pair.fake_sippo.fault(fault, call)
    while (call, True) not in pair.watch.changes:
        await sippo.fails(_asked(pair, call), *_FAILED)


def _asked(pair: sippo.Pair, call: ApiCall) -> Awaitable[object]:
    return pair.client.push(sippo.job()) if call is ApiCall.PUSH else pair.look_up(call)


@pytest.mark.parametrize(
    "fault", [HANG, RESET, status(500), status(503)], ids=["hang", "reset", "500", "503"]
)
@pytest.mark.parametrize("call", [ApiCall.GROUPS, ApiCall.PUSH])
async def test_a_dead_server_costs_no_waiting(call: ApiCall, fault: Fault) -> None:
    time = sippo.FakeClock()
    async with sippo.pair(timing=_once(time), **_ONCE) as pair:
        await _break(pair, fault, call)
        requests, pauses = pair.fake_sippo.requests.copy(), list(time.pauses)
        for _ in range(500):
            await sippo.fails(_asked(pair, call), CallOutcome.OPEN)
        assert (pair.fake_sippo.requests, time.pauses) == (requests, pauses)
        assert pair.watch.calls[call, "open"] == 500
        assert pair.client.failing == [call.value]


async def test_it_opens_after_so_many_failures_in_a_row() -> None:
    async with sippo.pair(timing=_once(sippo.FakeClock()), **_ONCE) as pair:
        for _ in range(4):
            assert await pair.client.group("sales") is not None
            pair.fake_sippo.fault(status(500), times=2)
            await sippo.fails(pair.client.group("sales"), CallOutcome.ERROR)
            await sippo.fails(pair.client.group("sales"), CallOutcome.ERROR)
        assert pair.watch.changes == []
        assert await pair.client.group("sales") is not None
        pair.fake_sippo.fault(status(500), times=3)
        for _ in range(3):
            await sippo.fails(pair.client.group("sales"), CallOutcome.ERROR)
        assert pair.watch.changes == [("groups", True)]
        await sippo.fails(pair.client.group("sales"), CallOutcome.OPEN)


@pytest.mark.parametrize(
    "fault", [GARBAGE, limited(), status(400), status(404)], ids=["200", "429", "400", "404"]
)
async def test_whoever_answers_is_not_dead(fault: Fault) -> None:
    async with sippo.pair(timing=_once(sippo.FakeClock()), **_ONCE) as pair:
        pair.fake_sippo.fault(fault, ApiCall.GROUPS)
        for _ in range(10):
            await asyncio.gather(pair.client.group("sales"), return_exceptions=True)
        pair.fake_sippo.heal()
        assert await pair.client.group("sales") is not None
        assert pair.watch.changes == []


async def test_a_hundred_that_hang_open_it_within_the_limit_of_one_request() -> None:
    async with sippo.pair(
        timeout=300, deadline=5000, maxConcurrent=10, breakAfter=5, breakFor=60_000
    ) as pair:
        await pair.client.group("sales")
        pair.fake_sippo.fault(HANG)
        found = await sippo.outcomes([pair.client.group("sales") for _ in range(100)])
        # Ten are sent, and another for each that fails, until the fifth fails. The waiting ones, and those that would
        # retry, are then not sent.
        assert found["timeout"] + found["open"] == 100
        assert found["timeout"] <= 14
        assert 11 <= pair.fake_sippo.requests["groups"] <= 15


async def test_repetitions_end_when_it_opens() -> None:
    time = sippo.FakeClock()
    async with sippo.pair(timing=time.timing(), deadline=60_000, breakAfter=3) as pair:
        pair.fake_sippo.fault(status(500), ApiCall.GROUPS)
        await sippo.fails(pair.client.group("sales"), CallOutcome.ERROR)
        assert pair.fake_sippo.requests["groups"] == 3
        assert time.pauses == pytest.approx([0.1, 0.2])


@pytest.mark.parametrize("call", [*sippo.LOOK_UPS, ApiCall.PUSH])
async def test_after_the_pause_one_call_finds_out_and_the_others_do_not_wait(call: ApiCall) -> None:
    time = sippo.FakeClock()
    async with sippo.pair(timing=_once(time), **_ONCE) as pair:
        await _break(pair, status(500), call)
        pair.fake_sippo.heal()
        time.now += 4.999
        await sippo.fails(_asked(pair, call), CallOutcome.OPEN)
        time.now += 0.001
        sent = pair.fake_sippo.requests[call]
        found = await sippo.outcomes([_asked(pair, call) for _ in range(20)])
        assert found["open"] == 19
        assert pair.fake_sippo.requests[call] == sent + 1
        await asyncio.gather(*[_asked(pair, call) for _ in range(20)])
        assert pair.watch.changes == [(call, True), (call, False)]


async def test_a_probe_that_fails_begins_the_pause_anew() -> None:
    time = sippo.FakeClock()
    async with sippo.pair(timing=_once(time), **_ONCE) as pair:
        await _break(pair, status(500))
        for _ in range(3):
            time.now += 5
            sent = pair.fake_sippo.requests["groups"]
            await sippo.fails(pair.client.group("sales"), CallOutcome.ERROR)
            await sippo.fails(pair.client.group("sales"), CallOutcome.OPEN)
            assert pair.fake_sippo.requests["groups"] == sent + 1
        assert pair.watch.changes == [("groups", True)]


async def test_a_look_up_that_is_the_probe_does_not_wait_for_what_hangs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client, "_PROBE_PATIENCE_S", 0.03)
    time = sippo.FakeClock()
    async with sippo.pair(timing=time.timing(), **_PATIENT) as pair:
        await _break(pair, RESET)
        pair.fake_sippo.fault(HANG, ApiCall.GROUPS)
        time.now += 5
        await sippo.fails(pair.client.group("sales"), CallOutcome.OPEN)
        await wait_until(lambda: pair.fake_sippo.under_way == 1, "the probe still hangs")
        await sippo.fails(pair.client.group("sales"), CallOutcome.OPEN)
        assert pair.fake_sippo.under_way == 1


async def test_a_server_that_is_back_but_slow_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "_PROBE_PATIENCE_S", 0.03)
    time = sippo.FakeClock()
    async with sippo.pair(timing=time.timing(), **_PATIENT) as pair:
        await _break(pair, RESET)
        pair.fake_sippo.fault(slow(120), ApiCall.GROUPS)
        time.now += 5
        await sippo.fails(pair.client.group("sales"), CallOutcome.OPEN)
        await wait_until(lambda: ("groups", False) in pair.watch.changes, "the probe has been answered")
        assert await pair.client.group("sales") is not None


async def test_a_probe_whose_caller_is_cancelled_goes_on() -> None:
    time = sippo.FakeClock()
    async with sippo.pair(timing=_once(time), **_ONCE) as pair:
        await _break(pair, status(500), ApiCall.PUSH)
        pair.fake_sippo.fault(slow(60_000), ApiCall.PUSH)
        time.now += 5
        probing = asyncio.ensure_future(pair.client.push(sippo.job()))
        await wait_until(lambda: pair.fake_sippo.under_way == 1, "the probe is under way")
        probing.cancel()
        pair.fake_sippo.heal()
        await wait_until(lambda: ("push", False) in pair.watch.changes, "the probe has been answered")
        assert await pair.client.push(sippo.job()) is PushResult.TAKEN


async def test_a_push_service_that_is_down_stops_no_look_up() -> None:
    async with sippo.pair(timing=_once(sippo.FakeClock()), **_ONCE) as pair:
        await _break(pair, status(503), ApiCall.PUSH)
        for call in sippo.LOOK_UPS:
            assert await pair.look_up(call, "nobody") is None
        await sippo.fails(pair.client.push(sippo.job()), CallOutcome.OPEN)


async def test_one_line_says_that_it_opens_and_one_that_it_closes(caplog: pytest.LogCaptureFixture) -> None:
    time = sippo.FakeClock()
    with caplog.at_level(logging.INFO, "invites.sippo"):
        async with sippo.pair(timing=_once(time), **_ONCE) as pair:
            await _break(pair, status(500))
            for _ in range(20):
                await sippo.fails(pair.client.group("sales"), CallOutcome.OPEN)
            time.now += 5
            await sippo.fails(pair.client.group("sales"), CallOutcome.ERROR)
            pair.fake_sippo.heal()
            time.now += 5
            assert await pair.client.group("sales") is not None
    assert [record.getMessage() for record in caplog.records] == [
        "sippo-server does not answer (groups): the worker sends one request every 5000 ms until it does.",
        "sippo-server answers again (groups).",
    ]
