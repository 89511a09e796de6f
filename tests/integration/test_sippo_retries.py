"""Retries: after which failures, with which pauses, and never beyond the limit in all."""

from __future__ import annotations

import asyncio
import time as real
from email.utils import formatdate

import pytest

from invites.sippo import ApiCall, CallOutcome, PushResult, SippoServer
from invites.values.backoff import exponential
from tests.support import sippo
from tests.support.waiting import wait_until
from workers.lab.fake_sippo import HANG, RESET, Fault, limited, slow, status

_PASSING = {
    "500": status(500),
    "502": status(502),
    "503": status(503),
    "429": limited(),
    "reset": RESET,
    "hang": HANG,
}


@pytest.mark.parametrize("fault", _PASSING.values(), ids=_PASSING)
@pytest.mark.parametrize("call", [*sippo.LOOK_UPS, ApiCall.PUSH])
async def test_what_passes_is_got_over(call: ApiCall, fault: Fault) -> None:
    time = sippo.FakeClock()
    timeout = 100 if fault is HANG else 5_000  # only hanging requests may reach it
    async with sippo.pair(timing=time.timing(), timeout=timeout, deadline=20_000) as pair:
        await pair.client.group("sales")
        pair.fake_sippo.fault(fault, call, times=3)
        if call is ApiCall.PUSH:
            assert await pair.client.push(sippo.job()) is PushResult.TAKEN
        else:
            assert await pair.look_up(call, "nobody") is None
        # aiohttp itself repeats a GET once on another connection, since the one it had kept may just have been closed.
        assert len(time.pauses) == (1 if fault is RESET and call is not ApiCall.PUSH else 3)
        assert pair.watch.calls[call, "found" if call is ApiCall.PUSH else "unknown"] == 1


@pytest.mark.parametrize(
    ("luck", "pauses"),
    [(1.0, [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]), (0.0, [0.05, 0.1, 0.2, 0.4, 0.5, 0.5])],
    ids=["longest", "shortest"],
)
async def test_pauses_double_up_to_a_second_and_are_half_random(
    monkeypatch: pytest.MonkeyPatch, luck: float, pauses: list[float]
) -> None:
    monkeypatch.setattr("random.uniform", lambda low, high: low + luck * (high - low))
    time = sippo.FakeClock()
    timing = time.timing(exponential(100, 1_000))
    async with sippo.pair(timing=timing, deadline=4000, breakAfter=1000) as pair:
        pair.fake_sippo.fault(status(500), ApiCall.GROUPS)
        await sippo.fails(pair.client.group("sales"), CallOutcome.ERROR)
    assert sum(time.pauses) < 4
    assert time.pauses[:6] == pytest.approx(pauses)


@pytest.mark.parametrize(
    "fault", [limited(2), Fault("status", status=503, retry_after=2)], ids=["429", "503"]
)
async def test_retry_after_in_seconds(fault: Fault) -> None:
    time = sippo.FakeClock()
    async with sippo.pair(timing=time.timing()) as pair:
        pair.fake_sippo.fault(fault, ApiCall.GROUPS, times=1)
        assert await pair.client.group("sales") is not None
        assert time.pauses == [2.0]


async def test_retry_after_as_a_date_counts_from_the_servers_own() -> None:
    time = sippo.FakeClock()
    async with sippo.pair(timing=time.timing(), deadline=10_000) as pair:
        pair.fake_sippo.fault(limited(formatdate(real.time() + 5, usegmt=True)), ApiCall.GROUPS, times=1)
        assert await pair.client.group("sales") is not None
        # The clock of this test says that it is 1970; dates have no fractions.
        assert len(time.pauses) == 1
        assert 3 <= time.pauses[0] <= 6


@pytest.mark.parametrize("retry_after", [3, 86_400, "9" * 400, formatdate(4e9, usegmt=True)])
async def test_retry_after_beyond_the_limit_in_all_is_no_reason_to_wait(retry_after: int | str) -> None:
    time = sippo.FakeClock()
    async with sippo.pair(timing=time.timing()) as pair:
        pair.fake_sippo.fault(limited(retry_after), ApiCall.GROUPS)
        await sippo.fails(pair.client.group("sales"), CallOutcome.LIMITED)
        assert time.pauses == []
        assert pair.fake_sippo.requests["groups"] == 1


@pytest.mark.parametrize(
    "retry_after", ["soon", "-5", "1.5", "", "٣", formatdate(0, usegmt=True), "Mon, 99 Nov"]
)
async def test_a_retry_after_that_makes_no_sense_is_none(retry_after: str) -> None:
    time = sippo.FakeClock()
    async with sippo.pair(timing=time.timing()) as pair:
        pair.fake_sippo.fault(limited(retry_after), ApiCall.GROUPS, times=1)
        assert await pair.client.group("sales") is not None
        assert time.pauses == pytest.approx([0.1])


@pytest.mark.parametrize("fault", [status(500), RESET, limited(), HANG], ids=["500", "reset", "429", "hang"])
async def test_nobody_waits_longer_than_the_limit_in_all(fault: Fault) -> None:
    async with sippo.pair(timeout=150, deadline=400, breakAfter=1000) as pair:
        pair.fake_sippo.fault(fault)
        began = real.monotonic()
        async with asyncio.timeout(30):  # generous, for a busy machine: without a limit it would never end
            await sippo.fails(
                pair.client.group("sales"),
                CallOutcome.ERROR,
                CallOutcome.LOST,
                CallOutcome.LIMITED,
                CallOutcome.TIMEOUT,
            )
        assert real.monotonic() - began > 0.1


async def test_what_is_slow_is_waited_for_within_the_limit_of_one_request() -> None:
    async with sippo.pair(timeout=1000) as pair:
        pair.fake_sippo.fault(slow(50), ApiCall.GROUPS)
        assert await pair.client.group("sales") is not None
        assert pair.fake_sippo.requests["groups"] == 1


async def test_a_server_that_is_gone() -> None:
    async with sippo.pair(timeout=200, deadline=300) as pair:
        address = pair.fake_sippo.address
    async with SippoServer(sippo.wac_of(address, breakAfter=1)) as client:
        assert "cannot connect" in str(await sippo.fails(client.group("sales"), CallOutcome.LOST))


@pytest.mark.parametrize(
    "address", ["http://no-such-host.invalid", "http://a..b", f"http://{'x' * 64}.invalid"]
)
async def test_a_name_that_is_no_host(address: str) -> None:
    async with SippoServer(sippo.wac_of(address, deadline=300, timeout=300)) as client:
        await sippo.fails(client.group("sales"), CallOutcome.LOST, CallOutcome.TIMEOUT)


async def test_a_hundred_lookups_that_hang_end_together_and_hold_up_nobody() -> None:
    async with sippo.pair(timeout=2_000, deadline=2_000, breakAfter=1000, maxConcurrent=200) as pair:
        # Their connections are there, which takes longer than to ask a hundred times.
        await sippo.outcomes([pair.client.group("sales") for _ in range(100)])
        pair.fake_sippo.fault(HANG, ApiCall.PUSH_DEVICES)
        lookups = [pair.client.push_devices("alice") for _ in range(100)]
        hanging = asyncio.ensure_future(sippo.outcomes([*lookups]))
        await wait_until(lambda: pair.fake_sippo.under_way == 100, "all of them hang")
        assert await pair.client.group("sales") is not None
        assert await pair.client.reachability("alice") is not None
        assert await pair.client.push(sippo.job()) is PushResult.TAKEN
        assert not hanging.done()
        assert await hanging == {"timeout": 100}
        await wait_until(lambda: pair.fake_sippo.under_way == 0, "none of them is under way any more")
        assert pair.watch.calls["pushDevices", "timeout"] == 100


async def test_a_client_that_is_closed_during_a_pause_asks_no_more() -> None:
    class Closing(sippo.FakeClock):
        async def sleep(self, seconds: float) -> None:
            await pair.client.__aexit__(None, None, None)
            await super().sleep(seconds)

    async with sippo.pair(timing=Closing().timing()) as pair:
        pair.fake_sippo.fault(status(500), ApiCall.GROUPS)
        error = await sippo.fails(pair.client.group("sales"), CallOutcome.LOST)
        assert "the client was closed" in str(error)
        assert pair.fake_sippo.requests["groups"] == 1
