"""A worker's HTTP server, its client, and an invite that rings for them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import aiohttp
from redis.asyncio import Redis
from yarl import URL

from invites.config import Config, parse
from invites.keys import CANDIDATE, Keys
from invites.sippo import SippoServer
from workers.http.server import HttpServer
from workers.telemetry.metrics import Metrics
from workers.telemetry.readiness import Readiness

KEYS: Final = Keys()
TOKEN: Final = "s3cret-token"


class Worker:
    """The worker behind the HTTP server."""

    def __init__(self) -> None:
        self.metrics = Metrics()
        self.readiness = Readiness()
        self.moving = False
        self.consumer = "worker-1"
        self.sippo: SippoServer | None = None


class Answer:
    """One answer: status, headers, JSON (None if the body is none)."""

    def __init__(self, status: int, headers: Any, body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Site:
    """A started server and a client of it."""

    def __init__(self, server: HttpServer, worker: Worker, session: aiohttp.ClientSession) -> None:
        self.server = server
        self.worker = worker
        self._session = session

    async def get(
        self, path: str, *, method: str = "GET", token: str | None = TOKEN, **headers: str
    ) -> Answer:
        """Ask for a path literally, without normalising its escapes."""
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        url = URL(f"http://127.0.0.1:{self.server.port}{path}", encoded=True)
        async with self._session.request(method, url, headers=headers) as answer:
            return Answer(answer.status, answer.headers, await answer.read())


Open = Callable[..., Awaitable[Site]]


def config(**http_section: object) -> Config:
    return parse({"http": {"port": 0, **http_section}})


@contextlib.asynccontextmanager
async def sites(url: str) -> AsyncIterator[Open]:
    """Starts servers for the Redis at this URL or another; they are stopped at the end."""
    servers: list[HttpServer] = []
    async with aiohttp.ClientSession() as session:

        async def start(config: Config, at: str = url) -> Site:
            worker = Worker()
            servers.append(HttpServer(config, worker, at))
            await servers[-1].start()
            return Site(servers[-1], worker, session)

        yield start
        for server in servers:
            await server.aclose()


async def ring(client: Redis, inviter: str, invite_id: str, to: str) -> None:
    ref = f"{inviter}|{invite_id}|{to}"
    fields: dict[Any, Any] = {
        "state": "PENDING",
        "from": inviter,
        "to": to,
        "inviteId": invite_id,
        "inviteRequest": "0",
        f"{CANDIDATE}b1": '{"address":"bob","type":"PEER","state":"CALLED"}',
    }
    await client.hset(KEYS.invite(ref), mapping=fields)
    await client.sadd(KEYS.pending(to), ref)
