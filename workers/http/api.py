"""The paths below `/v1`: calls and the state of all shards, for sippo-server, woken phones, people and the console."""

from __future__ import annotations

import asyncio
import re
import time
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from aiohttp import web

from invites import __version__
from invites.connection.clients import Clients
from invites.keys import Keys, shard_of
from invites.queries.history import calls_of
from invites.queries.invites import InviteQueries
from invites.queries.lists import CursorError, InviteLists
from invites.queries.story import story_of
from invites.values.ref import Ref
from workers.http.access import refusal
from workers.http.installation import Installation
from workers.http.query import asked_for, limit_in
from workers.http.responses import respond

if TYPE_CHECKING:
    from invites.config import Config
    from workers.http.served import Served

_ANSWER_WITHIN_S: Final = 2.0  # a woken phone does not wait longer
_QUERIES_AT_ONCE: Final = 8  # a query takes less than 1 ms


class Api:
    """Answers the paths below `/v1`.

    They require `Authorization: Bearer <http.token>`. Without a configured token they answer only programs of this
    machine (see `workers.http.access`). The connections to Redis at `url` are its own, and few: while Redis hangs,
    requests wait for one of them and end with 503. The owner must call `aclose`.
    """

    def __init__(self, config: Config, served: Served, url: str) -> None:
        self._config = config
        self._served = served
        self._clients = Clients(url, "http", max_connections=_QUERIES_AT_ONCE)
        self._turn = asyncio.Semaphore(_QUERIES_AT_ONCE)
        self._installation = Installation(config.shards(), self._clients, self._turn)

    def routes(self) -> list[web.RouteDef]:
        """The paths and their handlers."""
        return [
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

    async def aclose(self) -> None:
        """Close the connections to Redis."""
        await self._clients.aclose()

    async def _invitations(self, request: web.Request) -> web.Response:
        self._authorize(request)
        _, _, _, user, _ = _segments(request)
        async with asyncio.timeout(_ANSWER_WITHIN_S), self._turn:
            ringing, more = await self._queries(user).pending(user)
        return respond(200, {"invitations": ringing, **({"more": True} if more else {})})

    async def _state(self, request: web.Request) -> web.Response:
        self._authorize(request)
        _, _, _, user, _ = _segments(request)
        async with asyncio.timeout(_ANSWER_WITHIN_S), self._turn:
            state = await self._queries(user).state(user)
        return respond(200, state)

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
        return respond(200, page)

    async def _invite(self, request: web.Request) -> web.Response:
        self._authorize(request)
        _, _, _, inviter, invite_id, to = _segments(request)
        async with asyncio.timeout(_ANSWER_WITHIN_S), self._turn:
            invite = await self._queries(to).invite(str(Ref(inviter, invite_id, to)))
        if invite is None:
            raise web.HTTPNotFound(text="there is no such invite, or it ended more than retainAfter ago")
        return respond(200, invite)

    async def _story(self, request: web.Request) -> web.Response:
        self._authorize(request)
        _, _, _, inviter, invite_id, to, _ = _segments(request)
        keys = self._home(to)
        async with asyncio.timeout(_ANSWER_WITHIN_S), self._turn:
            story = await story_of(self._clients.of(keys), keys, str(Ref(inviter, invite_id, to)))
        if story is None:
            raise web.HTTPNotFound(text="there is no such invite, or it ended more than retainAfter ago")
        return respond(200, story)

    async def _list(self, request: web.Request) -> web.Response:
        self._authorize(request)
        _decoded(request.rel_url.raw_query_string)
        asked, limit, cursor = asked_for(request.query)
        self._refuse_while_moving()
        lists = InviteLists(self._config.shards(), self._clients.of)
        async with asyncio.timeout(_ANSWER_WITHIN_S), self._turn:
            try:
                page = await lists.page(asked, limit, cursor)
            except CursorError as error:
                raise web.HTTPBadRequest(text=str(error)) from None
        return respond(200, page)

    async def _overview(self, request: web.Request) -> web.Response:
        self._authorize(request)
        async with asyncio.timeout(_ANSWER_WITHIN_S):
            found = await self._installation.overview()
        ready, reason = self._served.readiness.state()
        worker = {"name": self._served.consumer, "release": __version__, "ready": ready, "reason": reason}
        sippo = self._served.sippo
        own = {"now": time.time_ns() // 1_000_000, "worker": worker}
        asked = None if sippo is None else {"failing": sippo.failing}
        return respond(200, {**own, "sippo": asked, **found})

    async def _minutes(self, request: web.Request) -> web.Response:
        self._authorize(request)
        async with asyncio.timeout(_ANSWER_WITHIN_S):
            return respond(200, await self._installation.minutes())

    async def _dead_letters(self, request: web.Request) -> web.Response:
        self._authorize(request)
        limit = limit_in(request.query)
        async with asyncio.timeout(_ANSWER_WITHIN_S):
            return respond(200, {"deadLetters": await self._installation.dead_letters(limit)})

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
    return [_decoded(segment) for segment in request.rel_url.raw_path.split("/")]


def _decoded(quoted: str) -> str:
    """The text. Raises HTTPBadRequest: aiohttp would take bytes that are no UTF-8 for other text."""
    try:
        return unquote(quoted, errors="strict")
    except UnicodeDecodeError:
        raise web.HTTPBadRequest(text="ids must be percent-encoded UTF-8") from None
