"""The token: one login for all, renewed before it expires and when it is refused, and given up in time."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import Any, Final

import pytest

from invites.sippo import ApiCall, CallOutcome, SippoServer
from tests.support import sippo
from tests.support.waiting import wait_until
from workers.lab.fake_sippo import GARBAGE, HANG, RESET, WRONG_TYPES, slow, status

_ONCE: Final[dict[str, Any]] = {"timeout": 80, "deadline": 80}


async def test_one_login_serves_a_hundred_calls_at_once() -> None:
    async with sippo.pair() as pair:
        pair.fake_sippo.fault(slow(20), ApiCall.LOGIN)
        found = await sippo.outcomes([pair.look_up(call) for call in sippo.LOOK_UPS for _ in range(33)])
        assert sum(found.values()) == found["list"] + found["NoneType"] + found["Reachability"] == 99
        assert pair.fake_sippo.requests["login"] == 1


async def test_a_token_that_is_refused_costs_one_login_for_all() -> None:
    async with sippo.pair() as pair:
        await pair.client.group("sales")
        pair.fake_sippo.revoke_tokens()
        pair.fake_sippo.fault(slow(20), ApiCall.LOGIN)
        assert await sippo.outcomes([pair.client.group("sales") for _ in range(100)]) == {"Group": 100}
        assert pair.fake_sippo.requests["login"] == 2
        assert pair.watch.calls == {("groups", "found"): 101}


async def test_a_refusal_that_comes_after_the_renewal_costs_no_login() -> None:
    async with sippo.pair() as pair:
        await pair.client.group("sales")
        # It is refused because of its old token, but learns that only when the others have a new one.
        pair.fake_sippo.fault(slow(60_000), ApiCall.PUSH_DEVICES, times=1)
        late = asyncio.ensure_future(pair.client.push_devices("alice"))
        await wait_until(lambda: pair.fake_sippo.under_way == 1, "the late one is under way")
        pair.fake_sippo.revoke_tokens()
        await pair.client.group("sales")
        pair.fake_sippo.heal()
        assert await late is not None
        assert pair.fake_sippo.requests == {"login": 2, "groups": 3, "pushDevices": 2}


async def test_a_token_that_is_always_refused_is_given_up() -> None:
    async with sippo.pair() as pair:
        pair.fake_sippo.fault(status(401), ApiCall.GROUPS)
        await sippo.fails(pair.client.group("sales"), CallOutcome.UNAUTHORIZED)
        assert pair.fake_sippo.requests == {"login": 2, "groups": 2}
        assert await pair.client.reachability("alice") is not None


@pytest.mark.parametrize("code", [400, 401, 403])
async def test_credentials_that_are_refused_are_not_tried_again_and_again(code: int) -> None:
    async with sippo.pair(breakAfter=4, breakFor=60_000) as pair:
        pair.fake_sippo.fault(status(code), ApiCall.LOGIN)
        for _ in range(4):
            error = await sippo.fails(pair.client.group("sales"), CallOutcome.UNAUTHORIZED)
            assert f"the credentials were rejected (status {code})" in str(error)
        for _ in range(10):
            await sippo.fails(pair.client.group("sales"), CallOutcome.OPEN)
        assert pair.fake_sippo.requests == {"login": 4}


async def test_a_wrong_password() -> None:
    async with sippo.pair(password="another") as pair:
        await sippo.fails(pair.client.push(sippo.job()), CallOutcome.UNAUTHORIZED)
        assert pair.fake_sippo.requests == {"login": 1}


async def test_renewed_before_it_expires_while_nobody_waits() -> None:
    time = sippo.FakeClock()
    async with sippo.pair(timing=time.timing(), token_lifetime=600) as pair:
        await pair.client.group("sales")
        time.now += 539
        await pair.client.group("sales")
        assert pair.fake_sippo.requests["login"] == 1
        time.now += 1
        pair.fake_sippo.fault(HANG, ApiCall.LOGIN)
        for _ in range(10):
            assert await pair.client.group("sales") is not None
        await wait_until(lambda: pair.fake_sippo.requests["login"] == 2, "the next login is under way")


async def test_the_renewed_token_is_used() -> None:
    time = sippo.FakeClock()
    async with sippo.pair(timing=time.timing(), token_lifetime=100) as pair:
        await pair.client.group("sales")
        time.now += 81
        await pair.client.group("sales")
        await wait_until(lambda: pair.watch.requests["login", "found"] == 2, "it has logged in again")
        time.now += 70
        pair.fake_sippo.fault(HANG, ApiCall.LOGIN)
        await pair.client.group("sales")
        assert pair.fake_sippo.requests["login"] == 2


async def test_an_expired_token_is_not_used() -> None:
    time = sippo.FakeClock()
    async with sippo.pair(timing=time.timing(), token_lifetime=100) as pair:
        await pair.client.group("sales")
        time.now += 100
        await pair.client.group("sales")
        assert pair.fake_sippo.requests == {"login": 2, "groups": 2}


async def test_a_renewal_that_fails_leaves_the_token_and_is_not_repeated_by_each_call() -> None:
    time = sippo.FakeClock()
    async with sippo.pair(timing=time.timing(), token_lifetime=100) as pair:
        await pair.client.group("sales")
        pair.fake_sippo.fault(status(500), ApiCall.LOGIN)
        time.now += 81

        def has_failed(times: int) -> bool:
            return pair.watch.requests["login", "error"] == times

        for failed in (1, 2):
            for _ in range(10):
                assert await pair.client.group("sales") is not None
            await wait_until(partial(has_failed, failed), "a renewal has failed")
            for _ in range(10):
                assert await pair.client.group("sales") is not None
            assert pair.fake_sippo.requests["login"] == 1 + failed
            time.now += 1


@pytest.mark.parametrize("fault", [GARBAGE, WRONG_TYPES, status(404), status(302)], ids=range(4))
async def test_a_login_without_a_token_is_no_answer(fault: Any) -> None:
    async with sippo.pair(**_ONCE) as pair:
        pair.fake_sippo.fault(fault, ApiCall.LOGIN)
        await sippo.fails(pair.client.group("sales"), CallOutcome.NONSENSE, CallOutcome.REFUSED)
        assert pair.fake_sippo.requests == {"login": 1}


async def test_a_connection_lost_at_the_login_fails_nobody() -> None:
    time = sippo.FakeClock()
    async with sippo.pair(timing=time.timing(), breakAfter=1) as pair:
        pair.fake_sippo.fault(RESET, ApiCall.LOGIN, times=1)
        assert await sippo.outcomes([pair.client.group("sales") for _ in range(20)]) == {"Group": 20}
        assert time.pauses == []
        assert pair.watch.changes == []


async def test_who_is_cancelled_does_not_cancel_the_login_of_the_others() -> None:
    async with sippo.pair() as pair:
        pair.fake_sippo.fault(slow(60_000), ApiCall.LOGIN)
        first, second = (asyncio.ensure_future(pair.client.group("sales")) for _ in range(2))
        await wait_until(lambda: pair.fake_sippo.under_way == 1, "the login is under way")
        first.cancel()
        pair.fake_sippo.heal()
        assert await second is not None
        assert first.cancelled()
        assert pair.fake_sippo.requests["login"] == 1


async def test_a_login_that_hangs_is_waited_for_within_the_limits() -> None:
    async with sippo.pair(timeout=100, deadline=300, breakAfter=1000) as pair:
        pair.fake_sippo.fault(HANG, ApiCall.LOGIN)
        assert await sippo.outcomes([pair.client.group("sales") for _ in range(50)]) == {"timeout": 50}
        assert 1 <= pair.fake_sippo.requests["login"] <= 3
        assert pair.fake_sippo.requests["groups"] == 0


async def test_closing_ends_a_login_that_hangs(caplog: pytest.LogCaptureFixture) -> None:
    async with sippo.pair() as pair:
        pair.fake_sippo.fault(HANG, ApiCall.LOGIN)
        client: SippoServer = pair.client
        waiting = asyncio.ensure_future(client.group("sales"))
        await wait_until(lambda: pair.fake_sippo.under_way == 1, "the login hangs")
        with caplog.at_level(logging.ERROR):
            await client.__aexit__(None, None, None)
            await sippo.fails(waiting, CallOutcome.LOST)
        assert caplog.records == []
