"""A TCP proxy between worker and server that can add delay, lose a reply, cut connections and refuse them."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

_CHUNK = 65_536


class Proxy:
    """Listens on a port of its own and forwards to `port`, both on 127.0.0.1.

    `delay_s` holds back every reply, `request_delay_s` every request. `lose_reply` cuts a connection after the server
    has executed a command and before its reply gets through; `lost` is set when that has happened. `hold` keeps the
    requests of one connection until `released` is set; `held` is set once one has come.
    """

    def __init__(self, port: int) -> None:
        self.delay_s = 0.0
        self.request_delay_s = 0.0
        self.lost = asyncio.Event()
        self.held = asyncio.Event()
        self.released = asyncio.Event()
        self._target = port
        self._server: asyncio.Server | None = None
        self._port = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._handlers: set[asyncio.Task[None]] = set()
        self._losing: tuple[bytes, bytes] | None = None
        self._holding: bytes | None = None

    @property
    def url(self) -> str:
        """The URL for the worker."""
        return f"redis://127.0.0.1:{self._port}/0"

    def lose_reply(self, command: bytes, containing: bytes = b"") -> None:
        """Lose the next reply that contains `containing` to a request that contains `command`."""
        self.lost.clear()
        self._losing = (command, containing)

    def loses(self, request: bytes, reply: bytes) -> bool:
        """Whether this reply is the one to lose; if so, record that it is lost."""
        if self._losing is None or self._losing[0] not in request or self._losing[1] not in reply:
            return False
        self._losing = None
        self.lost.set()
        return True

    def hold(self, command: bytes) -> None:
        """Keep the next request that contains `command`, and what follows it over its connection."""
        self._holding = command

    async def passes(self, request: bytes) -> None:
        """Wait until this request may go on."""
        if self._holding is not None and self._holding in request:
            self._holding = None
            self.held.set()
            await self.released.wait()

    def cut(self) -> None:
        """Cut all connections; new ones are accepted."""
        for writer in self._writers:
            writer.transport.abort()

    async def down(self) -> None:
        """Cut all connections and refuse new ones."""
        server, self._server = self._server, None
        assert server is not None
        # A connection that has just been accepted would leak if the server were closed before `_accept` has it.
        for listener in server.sockets:
            asyncio.get_running_loop().remove_reader(listener.fileno())
        for _ in range(3):
            await asyncio.sleep(0)
        server.close()
        self.cut()
        await asyncio.gather(*self._handlers, return_exceptions=True)

    async def up(self) -> None:
        """Accept connections, after `down` on the same port."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def __aenter__(self) -> Self:
        await self.up()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            await self.down()

    def _is_down(self) -> bool:
        return self._server is None

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._handlers.add(task)
        task.add_done_callback(self._handlers.discard)
        if self._is_down():
            writer.transport.abort()
            return
        try:
            there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        both = {writer, there_writer}
        self._writers |= both
        try:
            if self._is_down():
                return
            await _Line(self, reader, writer, there_reader, there_writer).run()
        finally:
            self._writers -= both
            for one in both:
                one.transport.abort()


class _Line:
    """One connection through the proxy."""

    def __init__(
        self,
        proxy: Proxy,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        there_reader: asyncio.StreamReader,
        there_writer: asyncio.StreamWriter,
    ) -> None:
        self._proxy = proxy
        self._here = (reader, writer)
        self._there = (there_reader, there_writer)
        self._request = b""  # the latest, or the latest part of it

    async def run(self) -> None:
        pumps = [asyncio.create_task(self._requests()), asyncio.create_task(self._replies())]
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        for pump in pumps:
            pump.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)

    async def _requests(self) -> None:
        with contextlib.suppress(OSError):
            while data := await self._here[0].read(_CHUNK):
                self._request = data
                if self._proxy.request_delay_s:
                    await asyncio.sleep(self._proxy.request_delay_s)
                await self._proxy.passes(data)
                self._there[1].write(data)
                await self._there[1].drain()

    async def _replies(self) -> None:
        with contextlib.suppress(OSError):
            while data := await self._there[0].read(_CHUNK):
                if self._proxy.loses(self._request, data):
                    return
                if self._proxy.delay_s:
                    await asyncio.sleep(self._proxy.delay_s)
                self._here[1].write(data)
                await self._here[1].drain()
