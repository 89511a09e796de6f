"""Every response of the HTTP server: JSON, or an error as JSON, with the same headers."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

import msgspec
from aiohttp import web
from redis.exceptions import NoPermissionError

from invites.connection.errors import passes
from invites.values.printable import escape_json

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

# The router's own errors have no message.
_MESSAGES: Final = {404: "there is nothing at this path", 405: "only GET is allowed here"}
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Server": "invites",  # without versions
    "X-Content-Type-Options": "nosniff",
}

_log = logging.getLogger(__name__)


def respond(status: int, content: object) -> web.Response:
    """A response with `content` as JSON."""
    body = escape_json(msgspec.json.encode(content).decode())  # people read it with curl, in a terminal
    return web.Response(status=status, body=body.encode(), content_type="application/json")


def _error(status: int, reason: str, message: str | None) -> web.Response:
    return respond(status, {"code": status, "error": reason, "message": message})


@web.middleware
async def errors_as_json(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Turn exceptions into JSON errors, without the text of internal ones."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        by_router = (error.text or "").startswith(f"{error.status}:")
        message = _MESSAGES.get(error.status) if by_router else error.text
        response = _error(error.status, error.reason.lower().replace(" ", "_"), message)
        for name in ("Allow", "WWW-Authenticate"):
            if name in error.headers:
                response.headers[name] = error.headers[name]
        return response
    except Exception as error:  # noqa: BLE001 - one request must not harm the worker
        if isinstance(error, NoPermissionError):
            lacks = "the worker's Redis user may not read this: `invites check` says what it lacks"
            return _error(503, "redis_forbids", lacks)
        if isinstance(error, TimeoutError) or passes(error):
            return _error(503, "redis_away", "Redis does not answer, try again later")
        _log.exception("An HTTP request failed.")
        return _error(500, "internal", "the request failed, see the log of the worker")


async def set_headers(_: web.Request, response: web.StreamResponse) -> None:
    """Add the headers that every response has."""
    response.headers.update(_HEADERS)
