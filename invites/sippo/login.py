"""The token for sippo-server: one shared login, renewed before it expires."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

import msgspec

from invites.sippo.answers import Granted, decode
from invites.sippo.calls import ApiCall, CallOutcome, NoAnswer
from invites.sippo.timing import Budget, Timing
from invites.sippo.transport import Request, Transport
from invites.values.secret import Secret

_LONGEST_MARGIN_S: Final = 60.0
_MARGIN: Final = 0.2  # the last part of a token's lifetime, in which it is renewed
_RENEW_AGAIN_S: Final = 1.0


@dataclass(slots=True)
class _Held:
    token: Secret
    renew_at: float
    expires_at: float


class Login:
    """Logs in when a token is first needed, shortly before it expires, and after it was rejected.

    Concurrent callers share one login, which continues even if they are cancelled. `timeout` is in s. The owner must
    `close` it.
    """

    def __init__(
        self, transport: Transport, path: str, username: str, password: Secret, timeout: float, timing: Timing
    ) -> None:
        credentials = msgspec.json.encode({"username": username, "password": password.reveal()})
        self._request = Request(
            ApiCall.LOGIN,
            path,
            decode=lambda body: decode(ApiCall.LOGIN, Granted, body),
            body=Secret(credentials.decode()),
        )
        self._transport = transport
        self._timeout = timeout
        self._timing = timing
        self._held: _Held | None = None
        self._running: asyncio.Task[Secret] | None = None

    async def close(self) -> None:
        """Cancel a login that is under way."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait({self._running})

    async def token(self, budget: Budget, refused: Secret | None = None) -> Secret:
        """A token other than `refused`. Raises NoAnswer."""
        if self._held is not None and self._held.token is refused:
            self._held = None
        held, now = self._held, self._timing.clock()
        if held is not None and now < held.expires_at:
            if now >= held.renew_at:
                self._under_way()
            return held.token
        login = self._under_way()
        done, _ = await asyncio.wait({login}, timeout=budget.left())
        if not done:
            raise NoAnswer(CallOutcome.TIMEOUT, ApiCall.LOGIN, "it took too long")
        if login.cancelled():
            raise NoAnswer(CallOutcome.LOST, ApiCall.LOGIN, "the client was closed")
        return login.result()

    def _under_way(self) -> asyncio.Task[Secret]:
        """The running login, started if there is none."""
        if self._running is None:
            self._running = asyncio.create_task(self._log_in(), name="login at sippo-server")
            self._running.add_done_callback(self._ended)
        return self._running

    def _ended(self, task: asyncio.Task[Secret]) -> None:
        self._running = None
        # This also marks the exception as retrieved, in case no caller waits any more.
        failed = task.cancelled() or task.exception() is not None
        if failed and self._held is not None:
            self._held.renew_at = self._timing.clock() + _RENEW_AGAIN_S

    async def _log_in(self) -> Secret:
        began = self._timing.clock()
        try:
            granted = await self._transport.send(self._request, None, self._timeout)
        except NoAnswer as error:
            # All callers wait for this login, so a broken idle connection must not fail them all.
            if error.reason is not CallOutcome.LOST:
                raise
            began = self._timing.clock()
            granted = await self._transport.send(self._request, None, self._timeout)
        margin = min(_LONGEST_MARGIN_S, granted.expires_in * _MARGIN)
        expires_at = began + granted.expires_in
        self._held = _Held(Secret(granted.token), expires_at - margin, expires_at)
        return self._held.token
