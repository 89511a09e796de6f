"""Sends one HTTP request to sippo-server and interprets the reply."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

from invites import __version__
from invites.sippo.calls import ApiCall, CallOutcome, NoAnswer, Watch
from invites.sippo.reasons import reason_of
from invites.sippo.timing import Timing
from invites.values.secret import Secret
from invites.values.traceparent import FIELD

LARGEST: Final = 1024 * 1024
"""The largest reply that is accepted (bytes)."""

_Answer = TypeVar("_Answer")

_OK: Final = 200
_UNAUTHORIZED: Final = 401
_TOO_MANY: Final = 429
_SERVERS_FAULT: Final = 500
_CREDENTIALS: Final = frozenset({400, 401, 403})  # the statuses of a rejected login
_IDLE_S: Final = 30.0


@dataclass(frozen=True, repr=False)  # the body of a login must not be shown
class Request(Generic[_Answer]):
    """A request and its possible replies: `decode` reads the body of a 200, `statuses` gives the result of others."""

    call: ApiCall
    path: str
    decode: Callable[[bytes], _Answer] | None = None
    statuses: Mapping[int, _Answer] = field(default_factory=dict)
    body: bytes | Secret | None = None
    traceparent: str = ""


class Transport:
    """A pool of connections to one sippo-server. The owner must `close` it."""

    def __init__(self, address: str, timing: Timing, watch: Watch) -> None:
        self._address = address.rstrip("/")
        self._timing = timing
        self._watch = watch
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_IDLE_S),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None),
            # A small compressed reply could unpack to a huge one.
            auto_decompress=False,
            headers={
                "Accept": "application/json",
                "Accept-Encoding": "identity",
                "User-Agent": f"invites/{__version__}",
            },
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()

    async def send(self, request: Request[_Answer], token: Secret | None, within: float) -> _Answer:
        """Send a request and read its reply, within `within` s. Raises NoAnswer."""
        began = self._timing.clock()
        outcome = None
        try:
            status, body, headers = await self._exchange(request, token, within)
            answer = self._read(request, status, body, headers)
            outcome = CallOutcome.FOUND if status < 300 else CallOutcome.UNKNOWN  # noqa: PLR2004 - HTTP's own
        except NoAnswer as error:
            outcome = error.reason
            raise
        else:
            return answer
        finally:
            if outcome is not None:  # None: the caller was cancelled
                self._watch.requested(request.call, outcome, self._timing.clock() - began)

    async def _exchange(
        self, request: Request[_Answer], token: Secret | None, within: float
    ) -> tuple[int, bytes | None, Mapping[str, str]]:
        """Status, body (None: too large) and headers of the reply."""
        body = request.body.reveal().encode() if isinstance(request.body, Secret) else request.body
        arrived = True
        try:
            async with (
                asyncio.timeout(within),
                self._session.request(
                    "GET" if body is None else "POST",
                    URL(self._address + request.path, encoded=True),
                    data=body,
                    headers=_headers(token, body, request.traceparent),
                    allow_redirects=False,  # never send credentials and tokens to another server
                ) as response,
            ):
                return response.status, await _body_of(response), response.headers
        except aiohttp.ClientConnectorError as error:
            arrived = False
            reason, detail = CallOutcome.LOST, f"cannot connect ({reason_of(error)})"
        except TimeoutError:
            reason, detail = CallOutcome.TIMEOUT, f"no reply within {within * 1000:.0f} ms"
        except (aiohttp.ClientResponseError, HttpProcessingError):
            reason, detail = CallOutcome.NONSENSE, "the reply is not HTTP"
        except (aiohttp.ClientError, OSError, UnicodeError) as error:  # UnicodeError: an invalid host name
            reason, detail = CallOutcome.LOST, f"the connection was lost ({reason_of(error)})"
        # Raised outside the handler: an aiohttp error holds the request with its token, and must not be the context.
        raise NoAnswer(reason, request.call, detail, arrived=arrived)

    def _read(
        self, request: Request[_Answer], status: int, body: bytes | None, headers: Mapping[str, str]
    ) -> _Answer:
        call = request.call
        if status == _OK and request.decode is not None:
            if body is None:
                raise NoAnswer(CallOutcome.NONSENSE, call, f"the reply has more than {LARGEST} bytes")
            return request.decode(body)
        if status in request.statuses:
            return request.statuses[status]
        if status == _UNAUTHORIZED or (call is ApiCall.LOGIN and status in _CREDENTIALS):
            what = "credentials were" if call is ApiCall.LOGIN else "token was"
            raise NoAnswer(CallOutcome.UNAUTHORIZED, call, f"the {what} rejected (status {status})")
        retry_after = self._timing.retry_after(headers.get("Retry-After"), headers.get("Date"))
        if status == _TOO_MANY:
            raise NoAnswer(CallOutcome.LIMITED, call, "too many requests (status 429)", retry_after)
        reason = CallOutcome.ERROR if status >= _SERVERS_FAULT else CallOutcome.REFUSED
        raise NoAnswer(reason, call, f"status {status}", retry_after)


def _headers(token: Secret | None, body: bytes | None, traceparent: str) -> dict[str, str]:
    headers = {} if body is None else {"Content-Type": "application/json"}
    if token is not None:
        headers["Authorization"] = f"Bearer {token.reveal()}"
    if traceparent:
        headers[FIELD] = traceparent
    return headers


async def _body_of(response: aiohttp.ClientResponse) -> bytes | None:
    """The whole body, so that the connection can be reused. A body that is too large closes it and gives None."""
    if (response.content_length or 0) <= LARGEST:
        body = bytearray()
        async for part in response.content.iter_any():
            body += part
            if len(body) > LARGEST:
                break
        else:
            return bytes(body)
    response.close()
    return None
