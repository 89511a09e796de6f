"""A lease that lets only one process move calls. It expires soon after its holder has died."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from typing import TYPE_CHECKING, Any, Final, Self

if TYPE_CHECKING:
    from types import TracebackType

    from redis.asyncio import Redis

_LASTS_S: Final = 6.0
_RENEW_S: Final = 1.5
_TRY_S: Final = 0.5


class LeaseError(Exception):
    """Another process has the lease."""


class Lease:
    """Holds `key` for the time of an `async with` block. A task renews it.

    Entering waits until a dead holder's lease has expired, and raises LeaseError when the lease is still being renewed.
    Call `check` before each write.
    """

    def __init__(self, client: Redis, key: str) -> None:
        self._client: Any = client
        self._key = key
        self._token = secrets.token_hex(8).encode()
        self._until = 0.0
        self._renewing: asyncio.Task[None] | None = None

    def check(self) -> None:
        """Raise LeaseError when the lease was not renewed in time, so that another process may have it."""
        if time.monotonic() >= self._until:
            raise LeaseError

    async def __aenter__(self) -> Self:
        deadline = time.monotonic() + _LASTS_S + _TRY_S
        while True:
            asked = time.monotonic()
            if await self._client.set(self._key, self._token, nx=True, px=int(_LASTS_S * 1000)):
                self._until = asked + _LASTS_S
                self._renewing = asyncio.create_task(self._renew())
                return self
            if asked >= deadline:
                raise LeaseError
            await asyncio.sleep(_TRY_S)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._renewing is not None:
            self._renewing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._renewing
        with contextlib.suppress(Exception):  # it expires by itself
            if await self._client.get(self._key) == self._token:
                await self._client.delete(self._key)

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(_RENEW_S)
            with contextlib.suppress(Exception):  # the next attempt may succeed; otherwise `check` raises
                asked = time.monotonic()
                if await self._client.get(self._key) != self._token:
                    return
                if await self._client.pexpire(self._key, int(_LASTS_S * 1000)):
                    self._until = asked + _LASTS_S
