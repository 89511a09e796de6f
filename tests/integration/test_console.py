"""A worker's view of the whole installation, and the files of its console, without a browser."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from redis.asyncio import Redis
from yarl import URL

from invites.config import Config, parse
from invites.keys import WORKERS_GROUP, Keys
from invites.store.measures import Ended, Took
from invites.store.minutes import ANSWER_S, SHOWN, Minutes, read_minutes
from tests.support.waiting import wait_until
from tests.support.worker import worker
from workers.http import console
from workers.http.server import HttpServer
from workers.telemetry.metrics import Metrics
from workers.telemetry.readiness import Readiness

KEYS = Keys()
_TOKEN = "s3cret-token"
_V1 = ("/v1/overview", "/v1/minutes", "/v1/dead-letters")


class _Sippo:
    failing = ("push",)


class _Worker:
    """The worker behind the HTTP server."""

    def __init__(self) -> None:
        self.consumer = "worker-1"
        self.metrics = Metrics()
        self.readiness = Readiness()
        self.moving = False
        self.sippo: Any = None


class _Site:
    def __init__(self, port: int, worker: _Worker, session: aiohttp.ClientSession) -> None:
        self.worker = worker
        self._port = port
        self._session = session

    async def ask(self, path: str, method: str = "GET", token: str | None = _TOKEN) -> tuple[int, Any, bytes]:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        url = URL(f"http://127.0.0.1:{self._port}{path}", encoded=True)
        async with self._session.request(method, url, headers=headers) as answer:
            return answer.status, answer.headers, await answer.read()

    async def json(self, path: str) -> Any:
        status, _, body = await self.ask(path)
        assert status == 200, body
        return json.loads(body)


def _config(shards: int = 1) -> Config:
    return parse({"http": {"port": 0, "token": _TOKEN}, "redis": {"shards": shards}})


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as found:
        yield found


@pytest.fixture
async def site(valkey_url: str, session: aiohttp.ClientSession) -> AsyncIterator[_Site]:
    speaker = _Worker()
    server = HttpServer(_config(shards=2), speaker, valkey_url)
    await server.start()
    yield _Site(server.port, speaker, session)
    await server.aclose()


async def test_the_console_needs_no_token_and_loads_nothing_of_others(site: _Site) -> None:
    files = {file.name for file in Path(console.__file__).parent.iterdir()} - {"__init__.py", "__pycache__"}
    assert {"index.html", "main.js", "console.css"} <= files
    for path in (
        "/console",
        *(f"/console/{name}" for name in (*files, "look.css", "elements.js", "icon.svg")),
    ):
        status, headers, body = await site.ask(path, token=None)
        assert (status, bool(body)) == (200, True), path
        policy = dict(part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";"))
        assert policy["default-src"] == "'none'"
        assert {policy["script-src"], policy["style-src"], policy["connect-src"]} == {"'self'"}
        assert policy["frame-ancestors"] == "'none'"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert (await site.ask(path, method="POST"))[0] == 405
    kinds = {
        "": "text/html",
        "/main.js": "text/javascript",
        "/look.css": "text/css",
        "/icon.svg": "image/svg+xml",
    }
    for path, kind in kinds.items():
        assert (await site.ask(f"/console{path}"))[1]["Content-Type"] == f"{kind}; charset=utf-8"


@pytest.mark.parametrize(
    "path",
    [
        "/console/", "/console/nothing.js", "/console/__init__.py", "/console/../server.py", "/console/..%2fserver.py",
        "/console/%2e%2e%2fserver.py", "/console/..%5cserver.py", "/console/%00", "/console//etc/passwd",
        "/console/%2fetc%2fpasswd", "/console/look/look.css", "/console/.", "/console/..", "/console/main.js/",
    ],
)  # fmt: skip
async def test_nothing_but_the_files_of_the_console_is_served(site: _Site, path: str) -> None:
    status, _, body = await site.ask(path)
    assert (status, json.loads(body)["error"]) == (404, "not_found")


@pytest.mark.parametrize("path", _V1)
async def test_what_the_console_asks_for_needs_the_token(site: _Site, path: str) -> None:
    for token in (None, "wrong"):
        assert (await site.ask(path, token=token))[0] == 401
    for method in ("POST", "PUT", "DELETE"):
        assert (await site.ask(path, method=method))[0] == 405
    assert (await site.ask(path))[0] == 200


@pytest.mark.leaks
async def test_an_overview_of_all_shards(site: _Site, client: Redis) -> None:
    other = Keys(shard=1, shards=2)
    await client.xgroup_create(KEYS.notifications, "gateway-1", mkstream=True)
    await client.xadd(KEYS.notifications, {"type": "invitation"})
    await client.xadd(other.events, {"type": "invite"}, id="1-1")
    found = await site.json("/v1/overview")
    assert found["worker"] == {
        "name": "worker-1",
        "release": found["worker"]["release"],
        "ready": False,
        "reason": "no read from Redis has completed yet",
    }
    assert found["sippo"] is None
    assert [one["shard"] for one in found["shards"]] == [0, 1]
    assert [one["lag"] for one in found["shards"][0]["groups"]] == [1]
    assert found["shards"][1]["backlog"]["entries"] == 1
    told = {(one["shard"], one["level"], one["problem"].split(" ")[0]) for one in found["problems"]}
    assert told == {(0, "CRITICAL", "no"), (1, "CRITICAL", "no"), (1, "CRITICAL", "an")}
    assert abs(found["now"] - time.time() * 1000) < 60_000
    site.worker.sippo = _Sippo()
    site.worker.readiness.read_completed("events")
    found = await site.json("/v1/overview")
    assert (found["sippo"], found["worker"]["ready"]) == ({"failing": ["push"]}, True)


@pytest.mark.leaks
async def test_dead_letters_of_all_shards_the_newest_first(site: _Site, client: Redis) -> None:
    for shard, id_, reason in ((0, "9-1", "first"), (1, "10-1", "second"), (0, "11-1", "third")):
        letter: dict[Any, Any] = {
            "type": "invite",
            "payload": '{"to": 1}',
            "error": reason,
            "entry": "5-1",
            "deliveries": "2",
        }
        await client.xadd(Keys(shard=shard, shards=2).dead, letter, id=id_)
    found = (await site.json("/v1/dead-letters"))["deadLetters"]
    assert [(one["shard"], one["error"]) for one in found] == [(0, "third"), (1, "second"), (0, "first")]
    assert found[1] == {
        "shard": 1, "id": "10-1", "type": "invite", "payload": '{"to": 1}', "error": "second", "entry": "5-1",
        "deliveries": 2,
    }  # fmt: skip
    assert len((await site.json("/v1/dead-letters?limit=2"))["deadLetters"]) == 2
    for limit in ("0", "201", "x"):
        assert (await site.ask(f"/v1/dead-letters?limit={limit}"))[0] == 400


async def test_what_the_server_denies_is_said(
    client: Redis, valkey_url: str, session: aiohttp.ClientSession
) -> None:
    await client.execute_command(
        "ACL", "SETUSER", "old", "on", "nopass", "~*", "+@all", "-xrevrange", "-zcount"
    )
    speaker = _Worker()
    server = HttpServer(_config(), speaker, valkey_url.replace("redis://", "redis://old:x@"))
    try:
        await server.start()
        site = _Site(server.port, speaker, session)
        found = await site.json("/v1/overview")
        assert (found["shards"], [one["level"] for one in found["problems"]]) == ([], ["WARNING"])
        assert "invites check" in found["problems"][0]["problem"]
        status, _, body = await site.ask("/v1/dead-letters")
        assert (status, json.loads(body)["error"]) == (503, "redis_forbids")
    finally:
        await server.aclose()
        await client.execute_command("ACL", "DELUSER", "old")


# Minutes


async def test_each_worker_writes_its_own_counts(client: Redis, site: _Site) -> None:
    one, other = Minutes(), Minutes()
    one.count([Ended("direct", "ACCEPTED", "accepted"), Took("answered", 4.0), Took("rang", 0.1, "push")])
    await one.write(client, KEYS, "w1")
    one.count([Ended("direct", "DECLINED", "busy")])
    await one.write(client, KEYS, "w1")
    other.count([Ended("group", "ACCEPTED", "accepted"), Took("answered", 1.0), Took("answered", 500.0)])
    await other.write(client, KEYS, "w2")
    found = await site.json("/v1/minutes")
    assert found["answerBounds"] == list(ANSWER_S)
    ended: dict[str, int] = {}
    for minute in found["minutes"]:
        for reason, count in minute["ended"].items():
            ended[reason] = ended.get(reason, 0) + count
    assert ended == {"accepted": 2, "busy": 1}
    answered = [
        sum(counts) for counts in zip(*(minute["answered"] for minute in found["minutes"]), strict=True)
    ]
    assert answered == [1, 0, 1, *([0] * 7), 1]


async def test_counts_that_cannot_be_written_are_written_later(client: Redis) -> None:
    minutes = Minutes()
    minutes.count([Ended("direct", "DECLINED_BY_TIMEOUT", "timeout")])
    key = KEYS.minute(int(time.time()) // 60)
    await client.set(key, "not a hash", px=1_000)
    with pytest.raises(Exception, match="WRONGTYPE"):
        await minutes.write(client, KEYS, "w1")
    await client.delete(key)
    await minutes.write(client, KEYS, "w1")
    assert [minute.ended for minute in await read_minutes(client, KEYS)] == [{"timeout": 1}]


async def test_minutes_that_nobody_would_see_any_more_are_not_kept(
    client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    minutes, began = Minutes(), time.time_ns()
    for passed in (0, SHOWN - 1, SHOWN):
        monkeypatch.setattr(time, "time_ns", lambda passed=passed: began + passed * 60_000_000_000)
        minutes.count([Ended("direct", "ACCEPTED", "accepted")])
    await minutes.write(client, KEYS, "w1")
    running = began // 60_000_000_000
    assert [await client.exists(KEYS.minute(running + passed)) for passed in (0, SHOWN - 1, SHOWN)] == [
        0,
        1,
        1,
    ]


@pytest.mark.parametrize("value", ["no JSON", '{"answered": [1, 2]}', '{"ended": 3}'])
async def test_counts_of_another_form_are_left_out(client: Redis, value: str) -> None:
    minutes = Minutes()
    minutes.count([Ended("direct", "ACCEPTED", "merged")])
    await minutes.write(client, KEYS, "w1")
    await client.hset(KEYS.minute(int(time.time()) // 60), "w2", value)
    await client.pexpire(KEYS.minute(int(time.time()) // 60), 60_000)
    assert [minute.ended for minute in await read_minutes(client, KEYS)] == [{"merged": 1}]


async def test_a_running_worker_counts_its_calls(client: Redis, valkey_url: str) -> None:
    async with worker(valkey_url):
        peer = {"id": "a1", "user": "alice"}
        event = {"peer": peer, "to": "nobody", "inviteId": "i1", "room": "r1"}
        await client.xadd(KEYS.events, {"type": "invite", "payload": json.dumps(event)})

        async def counted() -> bool:
            return [one.ended for one in await read_minutes(client, KEYS)] == [{"not_found": 1}]

        await wait_until(counted, "the call is counted")
        assert (await client.xpending(KEYS.events, WORKERS_GROUP))["pending"] == 0
