"""A limit on the connections of the HTTP server, so that callers cannot use up the file descriptors of the worker."""

from __future__ import annotations

import asyncio
import resource
from typing import TYPE_CHECKING, Final, cast

import msgspec
from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Server = Callable[[], asyncio.Protocol]

_MOST: Final = 512
_LEAST: Final = 8
_SHARE: Final = 4  # one in four file descriptors; the others are for Redis, sippo-server and the log
_MOST_REFUSED: Final = 16  # connections that wait for their refusal at once; more are just closed
_REFUSED_WITHIN_S: Final = 1.0
_BODY: Final = msgspec.json.encode(
    {"code": 503, "error": "too_many_connections", "message": "all connections are in use, try again later"}
)
_REFUSAL: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nCache-Control: no-store\r\n"
    b"Server: invites\r\nX-Content-Type-Options: nosniff\r\nRetry-After: 1\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n%s" % (len(_BODY), _BODY)
)


def most_connections() -> int:
    """A quarter of the file descriptors that the process may open, from 8 to 512."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MOST if soft == resource.RLIM_INFINITY else min(_MOST, max(_LEAST, soft // _SHARE))


class Connections:
    """Admits connections to a server, at most `most` at once.

    At the limit, a new one replaces the one that has been idle longest. A connection is idle while none of its requests
    is being answered, even if it has sent part of one. If none is idle, the new one gets 503.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._idle: dict[asyncio.BaseTransport, None] = {}  # the longest first
        self._busy: set[asyncio.BaseTransport] = set()
        self._refused: set[asyncio.Transport] = set()

    def door(self, server: Server) -> asyncio.Protocol:
        """The first protocol of a new connection to `server`, for `create_server`."""
        return _Door(self, server)

    def opened(self, transport: asyncio.Transport, server: Server) -> None:
        """Give the connection to the server, or refuse it."""
        self._idle = {one: None for one in self._idle if not one.is_closing()}
        self._refused = {one for one in self._refused if not one.is_closing()}
        if len(self._idle) + len(self._busy) >= self._most:
            if not self._idle:
                self._refuse(transport)
                return
            longest = next(iter(self._idle))
            del self._idle[longest]
            longest.close()
        self._idle[transport] = None
        protocol = server()
        transport.set_protocol(protocol)
        protocol.connection_made(transport)

    @web.middleware
    async def watch(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Note which connections have a request that is being answered."""
        transport = request.transport
        if transport is None:
            return await handler(request)  # already gone
        self._idle.pop(transport, None)
        self._busy.add(transport)
        try:
            return await handler(request)
        finally:
            self._busy.discard(transport)
            if not transport.is_closing():
                self._idle[transport] = None

    def close(self) -> None:
        """Drop the connections that wait for their refusal. The server closes the others."""
        for one in self._refused:
            one.abort()

    def _refuse(self, transport: asyncio.Transport) -> None:
        if len(self._refused) >= _MOST_REFUSED:
            transport.abort()
            return
        self._refused.add(transport)
        asyncio.get_running_loop().call_later(_REFUSED_WITHIN_S, transport.abort)


class _Door(asyncio.Protocol):
    """Holds a connection until it is given to the server. A refused one gets its answer once it has sent a request.

    Closing it before that would reset it, and the caller might not see the answer.
    """

    def __init__(self, connections: Connections, server: Server) -> None:
        self._connections = connections
        self._server = server
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is not a subclass
        self._connections.opened(self._transport, self._server)

    def data_received(self, _: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(_REFUSAL)
            self._transport.close()
