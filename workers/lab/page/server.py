"""The HTTP server of the page."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import jwt
import msgspec
from aiohttp import web

from invites.client import BadEvent, Peer
from invites.events.fields import Id
from workers.gateway.login import is_peer_of
from workers.http.console import LOOK
from workers.http.static import StaticFiles
from workers.lab.page.access import policy
from workers.lab.page.network import Move
from workers.lab.page.people import CAST, owner_of

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable

    from workers.lab.page.access import Access
    from workers.lab.page.crew import Crew
    from workers.lab.page.feed import Feed
    from workers.lab.page.keys import CallKeys
    from workers.lab.page.network import Network
    from workers.lab.page.rooms import Rooms

_STATIC: Final = Path(__file__).parent / "static"
_TOKEN_S: Final = 3_600
_LARGEST_BODY: Final = 4_096
_END_WITHIN_S: Final = 1.0
_ENTRY: Final = re.compile(r"\d{1,9}")  # of the feed
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "Server": "invites",
    "X-Content-Type-Options": "nosniff",
}


class _Entering(msgspec.Struct):
    """A device enters or leaves a room, as `peer`."""

    room: Id
    device: Id
    peer: Id


class PageServer:
    """Serves the page, its files, and its requests. The owner must call `aclose`."""

    def __init__(
        self,
        access: Access,
        feed: Feed,
        rooms: Rooms,
        network: Network,
        crew: Crew,
        call_keys: CallKeys,
        *,
        secret: str,
    ) -> None:
        self._access = access
        self._feed = feed
        self._rooms = rooms
        self._network = network
        self._crew = crew
        self._secret = secret
        self._call_keys = call_keys
        self._gateway_port = 0
        self._files = StaticFiles(_STATIC, LOOK)
        self._runner: web.AppRunner | None = None

    async def start(self, listening: socket.socket, gateway_port: int) -> None:
        """Serve on a socket that listens."""
        self._gateway_port = gateway_port
        app = web.Application(middlewares=[self._guard], client_max_size=_LARGEST_BODY)
        app.on_response_prepare.append(self._set_headers)
        app.add_routes(
            [
                web.get("/", self._page("index.html")),
                web.get("/device", self._page("device.html")),
                web.get("/static/{name}", self._file),
                web.get("/api/cast", self._cast),
                web.get("/api/token", self._token),
                web.get("/api/feed", self._listen),
                web.get("/api/keys", self._show_keys),
                web.post("/api/rooms/join", self._join),
                web.post("/api/rooms/leave", self._leave),
                web.post("/api/network", self._pick),
                web.post("/api/workers/{number}/kill", self._kill),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=_END_WITHIN_S)
        await self._runner.setup()
        await web.SockSite(self._runner, listening).start()

    async def aclose(self) -> None:
        """End all streams and stop listening."""
        self._feed.end()
        if self._runner is not None:
            await self._runner.cleanup()

    @web.middleware
    async def _guard(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        access = self._access
        if not access.is_host(request.headers.get("Host")):
            return _refusal(421, "This page has another address.")
        if not access.opens(request.cookies.get(access.cookie)):
            return self._enter(request)
        if request.method not in {"GET", "HEAD"} and not access.is_origin(request.headers.get("Origin")):
            return _refusal(403, "Only the page itself may do that.")
        try:
            return await handler(request)
        except (msgspec.DecodeError, BadEvent) as error:
            return _refusal(400, str(error))

    def _enter(self, request: web.Request) -> web.StreamResponse:
        """The first visit: the address has the key, and the browser keeps it."""
        key = request.query.get("key")
        if not self._access.opens(key):
            return _refusal(
                403, "Open the page with the whole address that `invites demo --page` has printed."
            )
        rest = {name: value for name, value in request.query.items() if name != "key"}
        response = web.Response(status=303, headers={"Location": str(request.rel_url.with_query(rest))})
        response.set_cookie(self._access.cookie, str(key), httponly=True, samesite="Lax")
        return response

    async def _set_headers(self, request: web.Request, response: web.StreamResponse) -> None:
        response.headers.update(_HEADERS)
        if self._access.is_host(request.headers.get("Host")):
            response.headers["Content-Security-Policy"] = policy(request.headers["Host"], self._gateway_port)

    def _page(self, name: str) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def show(_: web.Request) -> web.Response:
            return self._answer_file(name)

        return show

    async def _file(self, request: web.Request) -> web.Response:
        return self._answer_file(request.match_info["name"])

    def _answer_file(self, name: str) -> web.Response:
        return self._files.answer(name) or _refusal(404, "There is no such file.")

    async def _cast(self, _: web.Request) -> web.Response:
        address = None if self._access.is_local else self._access.device_url
        return _json({**CAST, "gatewayPort": self._gateway_port, "address": address})

    async def _token(self, request: web.Request) -> web.Response:
        """A token for a device, as the platform of the devices would give it."""
        device = request.query.get("device", "")
        user = owner_of(device)
        if user is None:
            return _refusal(404, "There is no such device.")
        claims = {"sub": user, "device": device, "exp": int(time.time()) + _TOKEN_S}
        return _json({"token": jwt.encode(claims, self._secret, algorithm="HS256")})

    async def _listen(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        after = request.headers.get("Last-Event-ID", "")
        messages = self._feed.listen(int(after) if _ENTRY.fullmatch(after) else 0)
        try:
            async for message in messages:
                await response.write(message)
        except ConnectionError:
            pass  # the browser has gone
        finally:
            await messages.aclose()  # type: ignore[attr-defined] # it is a generator
        return response

    async def _show_keys(self, request: web.Request) -> web.Response:
        sender, invite_id = request.query.get("from", ""), request.query.get("inviteId", "")
        if not sender or not invite_id:
            return _refusal(400, "The call is missing: from and inviteId.")
        return _json(await self._call_keys.of(sender, invite_id))

    async def _join(self, request: web.Request) -> web.Response:
        entering, peer = await self._entering(request)
        await self._rooms.join(entering.room, peer)
        return _done()

    async def _leave(self, request: web.Request) -> web.Response:
        entering, peer = await self._entering(request)
        await self._rooms.leave(entering.room, peer.id)
        return _done()

    async def _entering(self, request: web.Request) -> tuple[_Entering, Peer]:
        entering = msgspec.json.decode(await request.read(), type=_Entering)
        user = owner_of(entering.device)
        if user is None or not is_peer_of(user, entering.peer):
            raise BadEvent("field peer is no connection of this device")
        return entering, Peer(entering.peer, user, entering.device)

    async def _pick(self, request: web.Request) -> web.Response:
        await self._network.move(msgspec.json.decode(await request.read(), type=Move))
        return _done()

    async def _kill(self, request: web.Request) -> web.Response:
        number = request.match_info["number"]
        try:
            await self._crew.kill(int(number) - 1)
        except (ValueError, IndexError):
            return _refusal(404, "There is no such worker.")
        return _done()


def _json(content: object) -> web.Response:
    return web.Response(body=msgspec.json.encode(content), content_type="application/json")


def _done() -> web.Response:
    return web.Response(status=204)


def _refusal(status: int, sentence: str) -> web.Response:
    return web.Response(status=status, text=sentence + "\n")
