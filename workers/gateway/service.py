"""A gateway: HTTP server, connections, and the notifications for them."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import resource
from typing import TYPE_CHECKING, Any, Final

import msgspec
from aiohttp import WSMsgType, web
from prometheus_client.exposition import choose_encoder

from invites.client import Notification, Notifications, Peer, Publisher
from invites.client.repeats import Repeats
from invites.notifications import Answer, Invitation, ServerEmptied
from invites.store.layout import LayoutError
from workers.aio.gc import LongLived
from workers.aio.signals import stop_signals
from workers.gateway.connection import Close, Connection, frame, session_of
from workers.gateway.connections import Connections
from workers.gateway.login import Login, LoginError, is_peer_of, new_peer
from workers.gateway.messages import BadMessage, decode_message, login_of
from workers.gateway.metered import Metered, bytes_per_second
from workers.gateway.metrics import GatewayMetrics
from workers.gateway.shards import Shards
from workers.http import quiet
from workers.http.connections import Connections as HttpConnections

if TYPE_CHECKING:
    from aiohttp import WSMessage

    from invites.config import Config
    from workers.gateway.login import Identity

_LOGIN_WITHIN_S: Final = 5.0
_CLOSE_WITHIN_S: Final = 2.0
_END_WITHIN_S: Final = 5.0
_BESIDES: Final = 64  # connections that are no devices: they have not asked yet, or ask for metrics
_KEPT_FILES: Final = 128  # for Redis and the log
_MOST_BEFORE_LOGIN: Final = 16  # pings and pongs
_HEADERS: Final = {"Cache-Control": "no-store", "Server": "invites", "X-Content-Type-Options": "nosniff"}

_log = logging.getLogger(__name__)


class GatewayError(Exception):
    """The gateway cannot start. The text says why and what to do."""


class GatewayService:
    """Serves `GET /ws`, `/healthz`, `/readyz` and `/metrics`. The owner must call `aclose`.

    Raises ConfigError when the keys for logins are missing or unusable.
    """

    def __init__(self, config: Config, url: str) -> None:
        self.config = config.gateway
        self.metrics = GatewayMetrics()
        self._login = Login(config.gateway)
        redis = config.redis
        self._shards = Shards(redis, url)
        self._publisher = Publisher(url, shards=redis.shards, prefix=redis.prefix)
        self._notifications = Notifications(url, shards=redis.shards, prefix=redis.prefix)
        # Devices stay connected at a gateway with a wrong number: see Shards.
        self._publisher.checks_shards = self._notifications.checks_shards = False
        self._connections = Connections()
        self._sessions = Repeats()  # heard of, here or not
        self._serving: set[asyncio.Task[Any]] = set()
        self._objects = LongLived()
        self._stopping = False
        self._runner: web.AppRunner | None = None
        self._listener: asyncio.Server | None = None
        self._http = HttpConnections(_most_connections(config.gateway.max_connections))
        self._delivering: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        """The port that it listens on, even if `gateway.port` is 0."""
        if self._listener is None:
            raise RuntimeError("the gateway has not been started")
        return int(self._listener.sockets[0].getsockname()[1])

    async def start(self) -> None:
        """Begin to read notifications, then to listen. Raises GatewayError and redis exceptions."""
        try:
            await self._shards.check()
        except LayoutError as error:
            raise GatewayError(str(error)) from None
        self._watching = asyncio.create_task(self._shards.watch(), name="watching the number of shards")
        await self._notifications.start()
        self._delivering = asyncio.create_task(self._deliver(), name="delivering notifications")
        connections = self._http
        app = web.Application(middlewares=[connections.watch])
        app.on_response_prepare.append(_set_headers)
        app.add_routes(
            [
                web.get("/ws", self._connect),
                web.get("/healthz", self._healthz),
                web.get("/readyz", self._readyz),
                web.get("/metrics", self._metrics),
            ]
        )
        runner = self._runner = web.AppRunner(
            app, access_log=None, shutdown_timeout=_END_WITHIN_S, logger=quiet.LOG
        )
        await runner.setup()
        if runner.server is None:
            raise AssertionError("setup makes a server")
        server, rate = runner.server, bytes_per_second(self.config)
        door = functools.partial(connections.door, lambda: Metered(server(), rate))
        host, port = self.config.host, self.config.port
        try:
            self._listener = await asyncio.get_running_loop().create_server(
                door, host, port, backlog=1_024, reuse_address=True
            )
        except (OSError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise GatewayError(
                f"The gateway cannot listen on {host} port {port}: {reason}. "
                "Set gateway.host and gateway.port to an address of this machine and a free port (0: any)."
            ) from error
        _log.info("The gateway listens on %s port %d.", host, self.port)

    async def run(self, stopping: asyncio.Event) -> None:
        """Serve until `stopping` is set. Raises the error that ended the reading of notifications."""
        if self._delivering is None:
            raise RuntimeError("the gateway has not been started")
        waiting = asyncio.create_task(stopping.wait())
        try:
            ends = {waiting, self._delivering}
            while not (await asyncio.wait(ends, timeout=1.0, return_when=asyncio.FIRST_COMPLETED))[0]:
                self._objects.leave_alone()
            if self._delivering.done():
                self._delivering.result()
        finally:
            waiting.cancel()

    async def aclose(self) -> None:
        """Close all connections so that devices come back to another gateway, and remove the groups."""
        self._stopping = True
        for connection in self._connections.all():
            connection.close(Close.RESTART, "the gateway restarts: connect again")
        if self._serving:
            await asyncio.wait(self._serving, timeout=_END_WITHIN_S)
        if self._listener is not None:
            self._listener.close()
        if self._runner is not None:
            await self._runner.cleanup()
        self._http.close()
        tasks = [task for task in (self._delivering, self._watching) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._shards.aclose()
        await self._notifications.aclose()
        await self._publisher.aclose()

    # --- devices

    async def _connect(self, request: web.Request) -> web.StreamResponse:
        origin = request.headers.get("Origin")
        if origin is not None and origin not in self.config.origins:
            self.metrics.refused("origin")
            return _answer(
                403, error="forbidden", message="gateway.origins does not name the origin of this page"
            )
        if len(self._serving) >= self.config.max_connections or self._stopping:
            self.metrics.refused("connections")
            return _answer(503, error="too_many_connections", message="try another gateway, or again later")
        serving = asyncio.create_task(self._serve(request), name="serving a device")
        self._serving.add(serving)
        serving.add_done_callback(self._served)
        return await serving

    def _served(self, serving: asyncio.Task[Any]) -> None:
        """A refused device, too, leaves objects that only a collection frees."""
        self._serving.discard(serving)
        self._objects.ended(len(self._serving))

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(
            heartbeat=self.config.heartbeat / 1000,
            max_msg_size=self.config.max_message + 1,  # aiohttp refuses a message of that size
            compress=False,
            timeout=_CLOSE_WITHIN_S,
            autoping=False,
        )
        try:
            await socket.prepare(request)
        except ValueError:
            return _answer(400, error="bad_request", message="the header Sec-WebSocket-Key is wrong")
        try:
            identity, resumed = await self._logged_in(socket)
        except LoginError as error:
            self.metrics.refused("login")
            await _end(request, socket, Close.LOGIN, str(error)[:120])
            return socket
        if self._stopping:
            await _end(request, socket, Close.RESTART, "the gateway restarts: connect again")
            return socket
        peer = Peer(resumed or new_peer(identity.user), identity.user, identity.device)
        most = self.config.connections_per_user
        if not self._connections.has_room(peer, most):
            self.metrics.refused("user")
            await _end(request, socket, Close.USER, f"the user has {most} connections to this gateway")
            return socket
        connection = Connection(
            socket,
            identity,
            peer,
            self._publisher,
            self.config,
            self.metrics,
            self._login,
            resumed=resumed is not None,
        )
        connection.welcome()
        former = self._connections.enter(connection)  # its registration brings notifications
        self.metrics.connected(len(self._connections))
        if former is not None:
            former.close(Close.REPLACED, "the device has connected again")
        try:
            await connection.run()
        finally:
            self._connections.leave(connection)
            self.metrics.connected(len(self._connections))
            if request.transport is not None:
                request.transport.abort()  # frames that a device does not read must not be kept
            await asyncio.shield(connection.sign_off())
        return socket

    async def _logged_in(self, socket: web.WebSocketResponse) -> tuple[Identity, str | None]:
        """The identity of the device, and the peer that it continues as. Raises LoginError."""
        try:
            async with asyncio.timeout(_LOGIN_WITHIN_S):
                received = await _first_message(socket)
        except TimeoutError:
            raise LoginError(f"no login came within {_LOGIN_WITHIN_S:g} s") from None
        if received.type is not WSMsgType.TEXT:
            raise LoginError("the first message must be a login")
        try:
            login = login_of(decode_message(received.data))
        except BadMessage as error:
            raise LoginError(str(error)) from None
        identity = self._login.identify(login.token)
        is_own = login.resume is not None and is_peer_of(identity.user, login.resume)
        return identity, login.resume if is_own else None

    # --- notifications

    async def _deliver(self) -> None:
        async for one in self._notifications:
            if isinstance(one.payload, ServerEmptied):
                _log.warning("Shard %d has lost its data: registering all devices again.", one.payload.shard)
                for connection in self._connections.all():
                    connection.register_again()
            connections = self._connections.addressed_by(one)
            session = session_of(one.payload) if isinstance(one.payload, Answer) else None
            if session is not None:
                # A request that was published twice must not count as later than what came in between.
                if not self._sessions.is_one(session, one.type):
                    for connection in connections:
                        connection.hear_of_session(session)
            elif connections:
                age_ms = self._notifications.age_ms(one)
                message = _frame_of(one, age_ms)
                for connection in connections:
                    connection.send(message)
                self.metrics.sent(one.type, len(connections), age_ms / 1000)
            self._notifications.done(one)

    # --- operators

    async def _healthz(self, _: web.Request) -> web.Response:
        return _answer(200, alive=True)

    async def _readyz(self, _: web.Request) -> web.Response:
        if self._stopping:
            return _answer(503, ready=False, reason="the gateway is stopping")
        if not self._notifications.is_connected:
            return _answer(503, ready=False, reason="the notifications cannot be read")
        if self._shards.wrong is not None:
            return _answer(503, ready=False, reason=str(self._shards.wrong))
        return _answer(200, ready=True)

    async def _metrics(self, request: web.Request) -> web.Response:
        encode, kind = choose_encoder(request.headers.get("Accept", ""))
        return web.Response(body=encode(self.metrics.registry), headers={"Content-Type": kind})


def _most_connections(devices: int) -> int:
    """The limit of connections for a limit of devices: lower if the process may not open enough files."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = devices + _BESIDES
    return most if soft == resource.RLIM_INFINITY else min(most, max(_BESIDES, soft - _KEPT_FILES))


async def _first_message(socket: web.WebSocketResponse) -> WSMessage:
    """The first message other than a ping or pong, unless too many of these come first."""
    received = await socket.receive()
    for _ in range(_MOST_BEFORE_LOGIN):
        if received.type is WSMsgType.PING:
            await socket.pong(received.data)
        elif received.type is not WSMsgType.PONG:
            break
        received = await socket.receive()
    return received


async def _end(request: web.Request, socket: web.WebSocketResponse, code: Close, reason: str) -> None:
    """Close a connection, even if its device does not read."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_CLOSE_WITHIN_S):
            await socket.close(code=code, message=reason.encode())
    if request.transport is not None:
        request.transport.abort()


def _frame_of(notification: Notification, age_ms: int) -> bytes:
    payload = notification.payload
    if isinstance(payload, Invitation):
        left = max(0, payload.expires_in - max(0, age_ms))
        shown: object = msgspec.structs.replace(payload, expires_in=left)
    else:
        shown = msgspec.Raw(notification.raw)
    return frame(notification.type, shown, notification.id, notification.traceparent)


async def _set_headers(_: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(_HEADERS)


def _answer(status: int, **body: Any) -> web.Response:  # noqa: ANN401 - JSON
    if status >= 400:  # noqa: PLR2004 - an error
        body = {"code": status, **body}
    return web.Response(status=status, body=msgspec.json.encode(body), content_type="application/json")


async def run(config: Config, url: str) -> int:
    """Run a gateway until SIGTERM, SIGINT or SIGHUP; returns the exit status.

    Raises GatewayError, ConfigError and redis exceptions.
    """
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in stop_signals():
        loop.add_signal_handler(number, stopping.set)
    service = GatewayService(config, url)
    starting = asyncio.create_task(service.start())
    stopped = asyncio.create_task(stopping.wait())
    try:
        await asyncio.wait([starting, stopped], return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
            await service.run(stopping)
        return 0
    finally:
        for task in (starting, stopped):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([task])
        await service.aclose()
