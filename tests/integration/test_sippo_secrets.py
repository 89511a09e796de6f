"""Password and tokens reach sippo-server and nobody else: no log, error, metric or representation."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import traceback
from collections.abc import Iterator

import pytest

from invites.sippo import CallOutcome, NoAnswer, SippoServer
from invites.sippo.calls import ApiCall
from invites.sippo.transport import Request
from tests.support import sippo
from tests.support.waiting import wait_until
from workers.lab.fake_sippo import GARBAGE, HANG, OVERSIZE, RESET, WRONG_TYPES, Fault, status

_FAULTS = (GARBAGE, WRONG_TYPES, OVERSIZE, RESET, HANG, *map(status, (302, 400, 401, 403, 429, 500)))


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _texts(error: BaseException) -> Iterator[str]:
    """Everything that a log or an error tracker could show of it, including suppressed errors."""
    yield "".join(traceback.format_exception(error))
    for one in _chain(error):
        yield f"{one!s} {one!r} {one.args!r} {vars(one)!r} {getattr(one, 'request_info', '')!r}"


async def _errors(pair: sippo.Pair) -> list[BaseException]:
    calls = [*(pair.look_up(call) for call in sippo.LOOK_UPS), pair.client.push(sippo.job())]
    results = await asyncio.gather(*calls, return_exceptions=True)
    return [result for result in results if isinstance(result, BaseException)]


@pytest.mark.parametrize("fault", _FAULTS, ids=lambda fault: f"{fault.kind}-{fault.status}")
async def test_secrets_are_in_nothing_that_could_be_shown(
    caplog: pytest.LogCaptureFixture, fault: Fault
) -> None:
    caplog.set_level(logging.DEBUG)
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    shown = []
    loop.set_exception_handler(lambda _, context: shown.append(repr(context)))
    async with sippo.pair(timeout=40, deadline=40, breakAfter=2) as pair:

        async def is_logged_in() -> bool:
            with contextlib.suppress(NoAnswer):  # 40 ms are short on a busy machine
                await pair.client.group("sales")
            return bool(pair.fake_sippo._tokens)

        await wait_until(is_logged_in, "there is a token")
        secrets = [sippo.PASSWORD, *pair.fake_sippo._tokens]
        errors = []
        for call in (*sippo.LOOK_UPS, ApiCall.PUSH):
            pair.fake_sippo.fault(fault, call)
        errors += await _errors(pair)
        pair.fake_sippo.revoke_tokens()
        pair.fake_sippo.fault(fault, ApiCall.LOGIN)
        errors += await _errors(pair)
        pair.fake_sippo.heal()
        errors += await _errors(pair)
        secrets += pair.fake_sippo._tokens
        assert len(errors) >= 4
        assert {type(error) for error in errors} == {NoAnswer}
        shown += [text for error in errors for text in _texts(error)]
        shown += [repr(pair.client), str(vars(pair.client)), repr(pair.watch)]
        shown += [f"{task!r}" for task in asyncio.all_tasks()]
    shown += [f"{record.getMessage()} {record.exc_text} {record.args!r}" for record in caplog.records]
    for text in shown:
        for secret in [*secrets, "Bearer"]:
            assert secret not in text


async def test_what_a_login_answers_is_not_repeated() -> None:
    async with sippo.pair() as pair:
        pair.fake_sippo.fault(WRONG_TYPES, ApiCall.LOGIN)
        with pytest.raises(NoAnswer) as caught:
            await pair.client.group("sales")
        assert str(caught.value) == "The sippo-server call login failed: the reply is invalid."


def test_a_request_does_not_show_its_body() -> None:
    assert sippo.PASSWORD not in repr(Request(ApiCall.LOGIN, "/", body=sippo.PASSWORD.encode()))


@pytest.mark.parametrize("token", ["line\r\nX-Evil: 1", "two words", "ünï", "", "x" * 8193])
async def test_a_token_that_no_header_can_carry_is_none(token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with sippo.pair() as pair:
        monkeypatch.setattr("workers.lab.fake_sippo.server.secrets.token_urlsafe", lambda: token)
        with pytest.raises(NoAnswer) as caught:
            await pair.client.group("sales")
        assert caught.value.reason is CallOutcome.NONSENSE
        assert pair.fake_sippo.requests == {"login": 1}


async def test_credentials_follow_no_redirect() -> None:
    async with sippo.pair() as pair:
        elsewhere = sippo.wac_of(pair.fake_sippo.address, paths={"login": "/moved", "groups": "/moved/{id}"})
        async with SippoServer(elsewhere) as client:
            with pytest.raises(NoAnswer, match="status 404"):
                await client.group("sales")
        assert pair.fake_sippo.requests == {}
