"""The token: one login for all, renewed before it expires and when it is refused, and given up in time."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final

import pytest

from invites.sippo import Call, Outcome, SippoServer
from tests.support.sippo import LOOK_UPS, Time, asking, fails, job, outcomes
from tests.support.waiting import wait_until
from workers.lab.fake_sippo import GARBAGE, HANG, RESET, WRONG_TYPES, slow, status

_ONCE: Final[dict[str, Any]] = {"timeout": 80, "deadline": 80}


async def test_one_login_serves_a_hundred_calls_at_once() -> None:
    async with asking() as at:
        at.fake_sippo.fault(slow(20), Call.LOGIN)
        found = await outcomes([at.look_up(call) for call in LOOK_UPS for _ in range(33)])
        assert sum(found.values()) == found["list"] + found["NoneType"] + found["Reachability"] == 99
        assert at.fake_sippo.requests["login"] == 1


async def test_a_token_that_is_refused_costs_one_login_for_all() -> None:
    async with asking() as at:
        await at.client.group("sales")
        at.fake_sippo.revoke_tokens()
        at.fake_sippo.fault(slow(20), Call.LOGIN)
        assert await outcomes([at.client.group("sales") for _ in range(100)]) == {"Group": 100}
        assert at.fake_sippo.requests["login"] == 2
        assert at.watch.calls == {("groups", "found"): 101}


async def test_a_refusal_that_comes_after_the_renewal_costs_no_login() -> None:
    async with asking() as at:
        await at.client.group("sales")
        # It is refused because of its old token, but hears of it only when the others have a new one.
        at.fake_sippo.fault(slow(150), Call.PUSH_DEVICES, times=1)
        late = asyncio.ensure_future(at.client.push_devices("alice"))
        await wait_until(lambda: at.fake_sippo.under_way == 1, "the late one is under way")
        at.fake_sippo.revoke_tokens()
        await at.client.group("sales")
        assert await late is not None
        assert at.fake_sippo.requests == {"login": 2, "groups": 3, "pushDevices": 2}


async def test_a_token_that_is_always_refused_is_given_up() -> None:
    async with asking() as at:
        at.fake_sippo.fault(status(401), Call.GROUPS)
        await fails(at.client.group("sales"), Outcome.UNAUTHORIZED)
        assert at.fake_sippo.requests == {"login": 2, "groups": 2}
        assert await at.client.reachability("alice") is not None


@pytest.mark.parametrize("code", [400, 401, 403])
async def test_credentials_that_are_refused_are_not_tried_again_and_again(code: int) -> None:
    async with asking(breakAfter=4, breakFor=60_000) as at:
        at.fake_sippo.fault(status(code), Call.LOGIN)
        for _ in range(4):
            error = await fails(at.client.group("sales"), Outcome.UNAUTHORIZED)
            assert f"the credentials are refused (status {code})" in str(error)
        for _ in range(10):
            await fails(at.client.group("sales"), Outcome.OPEN)
        assert at.fake_sippo.requests == {"login": 4}


async def test_a_wrong_password() -> None:
    async with asking(password="another") as at:
        await fails(at.client.push(job()), Outcome.UNAUTHORIZED)
        assert at.fake_sippo.requests == {"login": 1}


async def test_renewed_before_it_expires_while_nobody_waits() -> None:
    time = Time()
    async with asking(timing=time.timing(), token_lifetime=600) as at:
        await at.client.group("sales")
        time.now += 539
        await at.client.group("sales")
        assert at.fake_sippo.requests["login"] == 1
        time.now += 1
        at.fake_sippo.fault(HANG, Call.LOGIN)
        for _ in range(10):
            assert await at.client.group("sales") is not None
        await wait_until(lambda: at.fake_sippo.requests["login"] == 2, "the next login is under way")


async def test_the_renewed_token_is_used() -> None:
    time = Time()
    async with asking(timing=time.timing(), token_lifetime=100) as at:
        await at.client.group("sales")
        time.now += 81
        await at.client.group("sales")
        await wait_until(lambda: at.watch.requests["login", "found"] == 2, "it has logged in again")
        time.now += 70
        at.fake_sippo.fault(HANG, Call.LOGIN)
        await at.client.group("sales")
        assert at.fake_sippo.requests["login"] == 2


async def test_an_expired_token_is_not_used() -> None:
    time = Time()
    async with asking(timing=time.timing(), token_lifetime=100) as at:
        await at.client.group("sales")
        time.now += 100
        await at.client.group("sales")
        assert at.fake_sippo.requests == {"login": 2, "groups": 2}


async def test_a_renewal_that_fails_leaves_the_token_and_is_not_repeated_by_each_call() -> None:
    time = Time()
    async with asking(timing=time.timing(), token_lifetime=100) as at:
        await at.client.group("sales")
        at.fake_sippo.fault(status(500), Call.LOGIN)
        time.now += 81
        for failed in (1, 2):
            for _ in range(10):
                assert await at.client.group("sales") is not None
            await wait_until(lambda: at.watch.requests["login", "error"] == failed, "a renewal has failed")  # noqa: B023
            for _ in range(10):
                assert await at.client.group("sales") is not None
            assert at.fake_sippo.requests["login"] == 1 + failed
            time.now += 1


@pytest.mark.parametrize("fault", [GARBAGE, WRONG_TYPES, status(404), status(302)], ids=range(4))
async def test_a_login_without_a_token_is_no_answer(fault: Any) -> None:
    async with asking(**_ONCE) as at:
        at.fake_sippo.fault(fault, Call.LOGIN)
        await fails(at.client.group("sales"), Outcome.NONSENSE, Outcome.REFUSED)
        assert at.fake_sippo.requests == {"login": 1}


async def test_a_connection_lost_at_the_login_fails_nobody() -> None:
    time = Time()
    async with asking(timing=time.timing(), breakAfter=1) as at:
        at.fake_sippo.fault(RESET, Call.LOGIN, times=1)
        assert await outcomes([at.client.group("sales") for _ in range(20)]) == {"Group": 20}
        assert time.pauses == []
        assert at.watch.changes == []


async def test_who_is_cancelled_does_not_cancel_the_login_of_the_others() -> None:
    async with asking() as at:
        at.fake_sippo.fault(slow(60), Call.LOGIN)
        first, second = (asyncio.ensure_future(at.client.group("sales")) for _ in range(2))
        await wait_until(lambda: at.fake_sippo.under_way == 1, "the login is under way")
        first.cancel()
        assert await second is not None
        assert first.cancelled()
        assert at.fake_sippo.requests["login"] == 1


async def test_a_login_that_hangs_is_waited_for_within_the_limits() -> None:
    async with asking(timeout=100, deadline=300, breakAfter=1000) as at:
        at.fake_sippo.fault(HANG, Call.LOGIN)
        assert await outcomes([at.client.group("sales") for _ in range(50)]) == {"timeout": 50}
        assert 1 <= at.fake_sippo.requests["login"] <= 3
        assert at.fake_sippo.requests["groups"] == 0


async def test_closing_ends_a_login_that_hangs(caplog: pytest.LogCaptureFixture) -> None:
    async with asking() as at:
        at.fake_sippo.fault(HANG, Call.LOGIN)
        client: SippoServer = at.client
        waiting = asyncio.ensure_future(client.group("sales"))
        await wait_until(lambda: at.fake_sippo.under_way == 1, "the login hangs")
        with caplog.at_level(logging.ERROR):
            await client.__aexit__(None, None, None)
            await fails(waiting, Outcome.LOST)
        assert caplog.records == []
