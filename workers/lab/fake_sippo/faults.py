"""The faults that the fake sippo-server can inject."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Annotated, Final, Literal

import msgspec
from aiohttp import web

from workers.aio.backoff import pause

_OVERSIZE: Final = 1024 * 1024 + 1  # bytes; one more than the client accepts
_WRONG_TYPES: Final = msgspec.json.encode(
    {
        "token": 7,
        "expiresIn": "soon",
        "id": 7,
        "name": [],
        "participants": "everybody",
        "devices": {"id": None},
        "candidatesType": 7,
        "candidates": "everybody",
    }
)


class Fault(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True, omit_defaults=True):
    """One kind of fault. `ms` is for slow; `status` and `retry_after` (s, or an HTTP date) are for status."""

    kind: Literal["slow", "status", "garbage", "wrongTypes", "oversize", "reset", "hang"]
    ms: Annotated[int, msgspec.Meta(ge=0)] = 0
    status: Annotated[int, msgspec.Meta(ge=200, le=599)] = 500
    retry_after: int | str | None = None


GARBAGE: Final = Fault("garbage")
"""A 200 with a body that is not JSON."""
WRONG_TYPES: Final = Fault("wrongTypes")
"""A 200 with JSON in which every field has the wrong type."""
OVERSIZE: Final = Fault("oversize")
"""A 200 with more than 1 MiB."""
RESET: Final = Fault("reset")
"""The connection is reset instead of a reply."""
HANG: Final = Fault("hang")
"""No reply at all."""


def slow(ms: int) -> Fault:
    """The correct reply after `ms`, or once the server is healed."""
    return Fault("slow", ms=ms)


def status(code: int) -> Fault:
    """An empty body with a status."""
    return Fault("status", status=code)


def limited(retry_after: int | str | None = None) -> Fault:
    """429, with a Retry-After in s or as an HTTP date."""
    return Fault("status", status=429, retry_after=retry_after)


async def inflict(
    fault: Fault, request: web.Request, healed: asyncio.Event, ending: asyncio.Event
) -> web.Response | None:
    """The faulty reply to a request; None to continue as usual.

    `healed` ends the wait of slow requests, `ending` that of requests that hang.
    """
    match fault.kind:
        case "slow":
            await pause(fault.ms / 1000, healed)
            return None
        case "status":
            headers = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
            return web.Response(status=fault.status, headers=headers)
        case "garbage":
            return web.Response(body=b"<html>Bad \xff gateway</html>", content_type="text/html")
        case "wrongTypes":
            return web.Response(body=_WRONG_TYPES, content_type="application/json")
        case "oversize":
            return web.Response(body=b" " * _OVERSIZE, content_type="application/json")
        case "reset":
            _reset(request)
    # For `hang`, and after a reset: the handler is cancelled together with its connection.
    await ending.wait()
    return web.Response(status=503)


def _reset(request: web.Request) -> None:
    transport = request.transport
    if transport is None:
        return
    connection = transport.get_extra_info("socket")
    # With a linger time of 0, closing sends RST instead of FIN.
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
