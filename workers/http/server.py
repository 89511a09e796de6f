"""The HTTP server of a worker: health, metrics, the console, and `/v1`."""

from __future__ import annotations

import asyncio
import functools
import logging
from typing import TYPE_CHECKING, Any, Final

from aiohttp import hdrs, web

from workers.http import quiet
from workers.http.api import Api
from workers.http.connections import Connections, most_connections
from workers.http.console import HEADERS, console_files
from workers.http.responses import errors_as_json, respond, set_headers

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp.http import RawRequestMessage

    from invites.config import Config
    from workers.http.served import Served

    RequestFactory = Callable[..., web.BaseRequest]

_STOP_WITHIN_S: Final = 1.0
_IDLE_S: Final = 75.0
_LONGEST_LINE: Final = 16_384  # three ids of 255 characters are 9,180 bytes when all of them are encoded

_log = logging.getLogger(__name__)


class HttpError(Exception):
    """The server cannot start. The text says why and what to do."""


class HttpServer:
    """Answers `GET /healthz`, `/readyz`, `/metrics`, `/console`, and with `Api` the paths below `/v1`.

    `/v1` has connections of its own to Redis at `url`. The owner must call `aclose`.
    """

    def __init__(self, config: Config, served: Served, url: str) -> None:
        self._config = config
        self._served = served
        self._api = Api(config, served, url)
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
        await self._api.aclose()

    def _application(self, connections: Connections) -> web.Application:
        app = web.Application(middlewares=[connections.watch, errors_as_json])
        app.on_response_prepare.append(set_headers)
        app.add_routes(
            [
                web.get("/healthz", self._healthz),
                web.get("/readyz", self._readyz),
                web.get("/metrics", self._metrics),
                web.get("/console", self._page),
                web.get("/console/{name}", self._file),
                *self._api.routes(),
            ]
        )
        return app

    async def _healthz(self, _: web.Request) -> web.Response:
        return respond(200, {"alive": True})

    async def _readyz(self, _: web.Request) -> web.Response:
        ready, reason = self._served.readiness.state()
        return respond(200, {"ready": True}) if ready else respond(503, {"ready": False, "reason": reason})

    async def _metrics(self, request: web.Request) -> web.Response:
        body, content_type = self._served.metrics.exposition(request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type})

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


def _without_expectations(make_request: RequestFactory) -> RequestFactory:
    """Ignore `Expect`: no request has a body, and aiohttp answers the header before any middleware, and repeats it."""

    def make(message: RawRequestMessage, *rest: Any) -> web.BaseRequest:  # noqa: ANN401 - as aiohttp passes them on
        if hdrs.EXPECT in message.headers:
            headers = message.headers.copy()
            headers.popall(hdrs.EXPECT)
            message = message._replace(headers=headers)  # type: ignore[arg-type] # read alike
        return make_request(message, *rest)

    return make
