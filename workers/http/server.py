"""The HTTP server of a worker: health, metrics, and ringing invites for sippo-server and woken phones."""

from __future__ import annotations

import asyncio
import functools
import logging
import re
import time
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import unquote

import msgspec
from aiohttp import hdrs, web
from redis.exceptions import NoPermissionError

from invites import __version__
from invites.connection.clients import Clients
from invites.connection.errors import passes
from invites.keys import Keys, shard_of
from invites.queries.history import calls_of
from invites.queries.invites import InviteQueries
from invites.queries.lists import CursorError, InviteLists
from invites.queries.story import story_of
from invites.values.printable import escape_json
from invites.values.ref import Ref
from workers.http import quiet
from workers.http.access import refusal
from workers.http.asked import asked_for, limit_in
from workers.http.connections import Connections, most_connections
from workers.http.console import HEADERS, console_files
from workers.http.installation import Installation

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiohttp.http import RawRequestMessage

    from invites.config import Config
    from invites.sippo import SippoServer
    from workers.telemetry.metrics import Metrics
    from workers.telemetry.readiness import Readiness

    RequestFactory = Callable[..., web.BaseRequest]

_ANSWER_WITHIN_S: Final = 2.0  # a woken phone does not wait longer
_QUERIES_AT_ONCE: Final = 8  # a query takes less than 1 ms
_STOP_WITHIN_S: Final = 1.0
_IDLE_S: Final = 75.0
_LONGEST_LINE: Final = 16_384  # three ids of 255 characters are 9,180 bytes when all of them are encoded
# The router's own errors have no message.
_MESSAGES: Final = {404: "there is nothing at this path", 405: "only GET is allowed here"}
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Server": "invites",  # without versions
    "X-Content-Type-Options": "nosniff",
}

_log = logging.getLogger(__name__)


class HttpError(Exception):
    """The server cannot start. The text says why and what to do."""


class Served(Protocol):
    """The part of the worker that the server needs."""

    @property
    def consumer(self) -> str: ...  # noqa: D102
    @property
    def metrics(self) -> Metrics: ...  # noqa: D102
    @property
    def readiness(self) -> Readiness: ...  # noqa: D102
    @property
    def moving(self) -> bool: ...  # noqa: D102 - whether a reshard is under way
    @property
    def sippo(self) -> SippoServer | None: ...  # noqa: D102 - None if it is not configured


class HttpServer:
    """Answers `GET /healthz`, `/readyz`, `/metrics`, `/console` and the paths below `/v1`.

    `/v1` requires `Authorization: Bearer <http.token>`. Without a configured token it answers only programs of this
    machine (see `workers.http.access`). Its connections to Redis at `url` are its own, and few: while Redis hangs,
    requests wait for one of them and end with 503. The owner must call `aclose`.
    """

    def __init__(self, config: Config, served: Served, url: str) -> None:
        self._config = config
        self._served = served
        self._clients = Clients(url, "http", max_connections=_QUERIES_AT_ONCE)
        self._turn = asyncio.Semaphore(_QUERIES_AT_ONCE)
        self._installation = Installation(config.shards(), self._clients, self._turn)
        self._console = console_files()
        self._runner: web.AppRunner | None = None
        self._listener: asyncio.Server | None = None
        self._connections: Connections | None = None

    @property
    def port(self) -> int:
        """The port that the server listens on, even if `http.port` is 0."""
        if self._listener is None:
            raise RuntimeError("the HTTP server has not been started")
        port: int = self._listener.sockets[0].getsockname()[1]
        return port

    async def start(self) -> None:
        """Start to listen. Raises HttpError."""
        http, most = self._config.http, most_connections()
        connections = Connections(most)
        runner = web.AppRunner(
            self._application(connections),
            access_log=None,
            keepalive_timeout=_IDLE_S,
            max_line_size=_LONGEST_LINE,
            shutdown_timeout=_STOP_WITHIN_S,
            logger=quiet.LOG,
        )
        await runner.setup()
        if runner.server is None:
            raise AssertionError("setup makes a server")
        runner.server.request_factory = _without_expectations(runner.server.request_factory)
        door = functools.partial(connections.door, runner.server)
        self._runner, self._connections = runner, connections
        try:
            self._listener = await asyncio.get_running_loop().create_server(
                door, http.host, http.port, backlog=most, reuse_address=True
            )
        except (OSError, UnicodeError) as error:
            await self.aclose()
            reason = getattr(error, "strerror", None) or str(error)
            raise HttpError(
                f"The HTTP server cannot listen on {http.host} port {http.port}: {reason}. "
                "Set http.host and http.port to an address of this machine and a free port (0: any)."
            ) from error
        _log.info("HTTP on %s port %d.", http.host, self.port)

    async def aclose(self) -> None:
        """Finish running requests, for at most one second, and close all connections."""
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()
        if self._connections is not None:
            self._connections.close()
        await self._clients.aclose()

    def _application(self, connections: Connections) -> web.Application:
        app = web.Application(middlewares=[connections.watch, _as_json])
        app.on_response_prepare.append(_set_headers)
        app.add_routes(
            [
                web.get("/healthz", self._healthz),
                web.get("/readyz", self._readyz),
                web.get("/metrics", self._metrics),
                web.get("/console", self._page),
                web.get("/console/{name}", self._file),
                web.get("/v1/overview", self._overview),
                web.get("/v1/minutes", self._minutes),
                web.get("/v1/dead-letters", self._dead_letters),
                web.get("/v1/users/{user}/invitations", self._invitations),
                web.get("/v1/users/{user}/state", self._state),
                web.get("/v1/invites", self._list),
                web.get("/v1/users/{user}/calls", self._calls),
                web.get("/v1/invites/{from}/{inviteId}/{to}", self._invite),
                web.get("/v1/invites/{from}/{inviteId}/{to}/story", self._story),
            ]
        )
        return app

    async def _healthz(self, _: web.Request) -> web.Response:
        return _response(200, {"alive": True})

    async def _readyz(self, _: web.Request) -> web.Response:
        ready, reason = self._served.readiness.state()
        return (
            _response(200, {"ready": True}) if ready else _response(503, {"ready": False, "reason": reason})
        )

    async def _metrics(self, request: web.Request) -> web.Response:
        body, content_type = self._served.metrics.exposition(request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type})

    async def _invitations(self, request: web.Request) -> web.Response:
        self._authorize(request)
        _, _, _, user, _ = _segments(request)
        async with asyncio.timeout(_ANSWER_WITHIN_S), self._turn:
            ringing, more = await self._queries(user).pending(user)
        return _response(200, {"invitations": ringing, **({"more": True} if more else {})})

    async def _state(self, request: web.Request) -> web.Response:
        self._authorize(request)
        _, _, _, user, _ = _segments(request)
        async with asyncio.timeout(_ANSWER_WITHIN_S), self._turn:
            state = await self._queries(user).state(user)
        return _response(200, state)

    async def _calls(self, request: web.Request) -> web.Response:
        self._authorize(request)
        _, _, _, user, _ = _segments(request)
        missed, before = request.query.get("missed"), request.query.get("before")
        if missed not in {None, "1"} or not re.fullmatch(
            r"\d{1,15}", "0" if before is None else before, re.ASCII
        ):
            raise web.HTTPBadRequest(text="missed must be 1, and before a time in ms since 1970")
        keys, age = self._home(user), self._config.kept(self._config.invites.keep_history_for)
        end = None if before is None else int(before)
        async with asyncio.timeout(_ANSWER_WITHIN_S), self._turn:
            page = await calls_of(
                self._clients.of(keys), keys, user, age=age, missed=missed is not None, before=end
            )
        return _response(200, page)

    async def _invite(self, request: web.Request) -> web.Response:
        self._authorize(request)
        _, _, _, inviter, invite_id, to = _segments(request)
        async with asyncio.timeout(_ANSWER_WITHIN_S), self._turn:
            invite = await self._queries(to).invite(str(Ref(inviter, invite_id, to)))
        if invite is None:
            raise web.HTTPNotFound(text="there is no such invite, or it ended more than retainAfter ago")
        return _response(200, invite)

    async def _story(self, request: web.Request) -> web.Response:
        self._authorize(request)
        _, _, _, inviter, invite_id, to, _ = _segments(request)
        keys = self._home(to)
        async with asyncio.timeout(_ANSWER_WITHIN_S), self._turn:
            story = await story_of(self._clients.of(keys), keys, str(Ref(inviter, invite_id, to)))
        if story is None:
            raise web.HTTPNotFound(text="there is no such invite, or it ended more than retainAfter ago")
        return _response(200, story)

    async def _list(self, request: web.Request) -> web.Response:
        self._authorize(request)
        asked, limit, cursor = asked_for(request.query)
        self._refuse_while_moving()
        lists = InviteLists(self._config.shards(), self._clients.of)
        async with asyncio.timeout(_ANSWER_WITHIN_S), self._turn:
            try:
                page = await lists.page(asked, limit, cursor)
            except CursorError as error:
                raise web.HTTPBadRequest(text=str(error)) from None
        return _response(200, page)

    async def _overview(self, request: web.Request) -> web.Response:
        self._authorize(request)
        async with asyncio.timeout(_ANSWER_WITHIN_S):
            found = await self._installation.overview()
        ready, reason = self._served.readiness.state()
        worker = {"name": self._served.consumer, "release": __version__, "ready": ready, "reason": reason}
        sippo = self._served.sippo
        own = {"now": time.time_ns() // 1_000_000, "worker": worker}
        asked = None if sippo is None else {"failing": sippo.failing}
        return _response(200, {**own, "sippo": asked, **found})

    async def _minutes(self, request: web.Request) -> web.Response:
        self._authorize(request)
        async with asyncio.timeout(_ANSWER_WITHIN_S):
            return _response(200, await self._installation.minutes())

    async def _dead_letters(self, request: web.Request) -> web.Response:
        self._authorize(request)
        limit = limit_in(request.query)
        async with asyncio.timeout(_ANSWER_WITHIN_S):
            return _response(200, {"deadLetters": await self._installation.dead_letters(limit)})

    async def _page(self, _: web.Request) -> web.Response:
        return self._file_named("index.html")

    async def _file(self, request: web.Request) -> web.Response:
        return self._file_named(request.match_info["name"])

    def _file_named(self, name: str) -> web.Response:
        file = self._console.answer(name)
        if file is None:
            raise web.HTTPNotFound
        file.headers.update(HEADERS)
        return file

    def _queries(self, routing_key: str) -> InviteQueries:
        keys = self._home(routing_key)
        return InviteQueries(self._clients.of(keys), keys)

    def _home(self, routing_key: str) -> Keys:
        self._refuse_while_moving()
        redis = self._config.redis
        return Keys(redis.prefix, shard_of(routing_key, redis.shards), redis.shards)

    def _refuse_while_moving(self) -> None:
        if self._served.moving:
            raise web.HTTPServiceUnavailable(
                text="the calls are being moved to other shards, try again later"
            )

    def _authorize(self, request: web.Request) -> None:
        token = self._config.http.token
        if token is None:
            refused = refusal(request, self._config.http.host)
            if refused is not None:
                raise web.HTTPForbidden(text=refused)
            return
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token.matches(given.strip()):
            challenge = {"WWW-Authenticate": 'Bearer realm="invites"'}
            raise web.HTTPUnauthorized(
                text="Authorization: Bearer <http.token> is required", headers=challenge
            )


def _segments(request: web.Request) -> list[str]:
    """The path, split before it is decoded, so that an id may contain an encoded `/` or `%`."""
    try:
        return [unquote(segment, errors="strict") for segment in request.rel_url.raw_path.split("/")]
    except UnicodeDecodeError:
        raise web.HTTPBadRequest(text="ids in the path must be percent-encoded UTF-8") from None


def _response(status: int, content: object) -> web.Response:
    body = escape_json(
        msgspec.json.encode(content).decode()
    ).encode()  # people read it with curl, in a terminal
    return web.Response(status=status, body=body, content_type="application/json")


def _error(status: int, reason: str, message: str | None) -> web.Response:
    return _response(status, {"code": status, "error": reason, "message": message})


def _without_expectations(make_request: RequestFactory) -> RequestFactory:
    """Ignore `Expect`: no request has a body, and aiohttp answers the header before any middleware, and repeats it."""

    def make(message: RawRequestMessage, *rest: Any) -> web.BaseRequest:  # noqa: ANN401 - as aiohttp passes them on
        if hdrs.EXPECT in message.headers:
            headers = message.headers.copy()
            headers.popall(hdrs.EXPECT)
            message = message._replace(headers=headers)  # type: ignore[arg-type] # read alike
        return make_request(message, *rest)

    return make


@web.middleware
async def _as_json(
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


async def _set_headers(_: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(_HEADERS)
