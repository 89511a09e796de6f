"""Devices that are connected to a gateway."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from typing import TYPE_CHECKING, Any, Final, Self

import aiohttp
import jwt

if TYPE_CHECKING:
    from types import TracebackType

SECRET: Final = "a secret of thirty-two bytes or more"
_WITHIN_S: Final = 15.0


def token(user: str, *, lasts_s: float = 600.0, **claims: Any) -> str:
    """A token as the platform gives it to a device."""
    return jwt.encode({"sub": user, "exp": time.time() + lasts_s, **claims}, SECRET, algorithm="HS256")


class Device:
    """Connects as a user; leaving the block cuts the connection. `heard` has the messages so far, in order.

    `socket` exists inside the block.
    """

    def __init__(self, port: int, user: str, *, resume: str | None = None, **claims: Any) -> None:
        self.heard: list[dict[str, Any]] = []
        self.peer = ""
        self.close_code: int | None = None
        self._url = f"http://127.0.0.1:{port}/ws"
        self._login = {"token": token(user, **claims)} | ({} if resume is None else {"resume": resume})
        self._session: aiohttp.ClientSession | None = None
        self.socket: aiohttp.ClientWebSocketResponse | None = None
        self._read = 0

    async def send(self, kind: str, **payload: Any) -> None:
        """Send a message."""
        assert self.socket is not None
        await self.socket.send_str(json.dumps({"type": kind, "payload": payload}))

    async def send_raw(self, data: str | bytes) -> None:
        """Send a frame as it is."""
        assert self.socket is not None
        await (self.socket.send_bytes(data) if isinstance(data, bytes) else self.socket.send_str(data))

    async def hears(self, kind: str) -> dict[str, Any]:
        """The payload of the next message of a type; what comes before it is in `heard`."""
        async with asyncio.timeout(_WITHIN_S):
            while True:
                while self._read < len(self.heard):
                    self._read += 1
                    if self.heard[self._read - 1]["type"] == kind:
                        found: dict[str, Any] = self.heard[self._read - 1]["payload"]
                        return found
                assert await self._receive(), f"closed with {self.close_code} before {kind}"

    async def listens(self, seconds: float) -> None:
        """Stay for this long: reply to pings, and receive messages."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while await self._receive():
                    pass

    async def ends(self) -> tuple[int | None, str]:
        """Wait until the gateway closes the connection: code and reason."""
        async with asyncio.timeout(_WITHIN_S):
            while await self._receive():
                pass
        return self.close_code, self.reason

    async def _receive(self) -> bool:
        assert self.socket is not None
        received = await self.socket.receive()
        if received.type is aiohttp.WSMsgType.TEXT:
            self.heard.append(json.loads(received.data))
            return True
        self.close_code, self.reason = self.socket.close_code, str(received.extra or "")
        return False

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession()
        try:
            self.socket = await self._session.ws_connect(self._url)
            await self.send("login", **self._login)
            self.peer = (await self.hears("welcome"))["peer"]
        except BaseException:
            await self._session.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._session is not None
        assert self.socket is not None
        await self.socket.close()
        await self._session.close()
