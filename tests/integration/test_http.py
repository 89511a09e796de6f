"""The HTTP server of a worker: access, answers, and the behaviour while Redis is unreachable."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import resource
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
from redis.asyncio import Redis
from yarl import URL

from invites.config import Config, parse
from invites.connection.clients import connect
from invites.keys import CANDIDATE, Keys, shard_of
from invites.queries.invites import InviteQueries
from invites.sippo import SippoServer
from tests.support.waiting import wait_until
from workers.http import api
from workers.http import connections as http_connections
from workers.http import server as http
from workers.http.server import HttpError, HttpServer
from workers.telemetry.metrics import Metrics
from workers.telemetry.readiness import Readiness

pytestmark = pytest.mark.leaks  # these tests write the keys themselves

KEYS = Keys()
_TOKEN = "s3cret-token"


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
        self, path: str, *, method: str = "GET", token: str | None = _TOKEN, **headers: str
    ) -> Answer:
        """Ask for a path literally, without normalising its escapes."""
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        url = URL(f"http://127.0.0.1:{self.server.port}{path}", encoded=True)
        async with self._session.request(method, url, headers=headers) as answer:
            return Answer(answer.status, answer.headers, await answer.read())


Open = Callable[..., Awaitable[Site]]


def _config(**http_section: object) -> Config:
    return parse({"http": {"port": 0, **http_section}})


@pytest.fixture
async def site_for(valkey_url: str) -> AsyncIterator[Open]:
    """Start servers; they are stopped at the end."""
    servers: list[HttpServer] = []
    async with aiohttp.ClientSession() as session:

        async def start(config: Config, url: str = valkey_url) -> Site:
            worker = Worker()
            servers.append(HttpServer(config, worker, url))
            await servers[-1].start()
            return Site(servers[-1], worker, session)

        yield start
        for server in servers:
            await server.aclose()


@pytest.fixture
async def site(site_for: Open) -> Site:
    return await site_for(_config(token=_TOKEN))


async def _ring(client: Redis, inviter: str, invite_id: str, to: str) -> None:
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


@pytest.mark.parametrize("wrong", [b"Content-Length: -1", b"Tran\xc8fer-Encoding: chunked"])
async def test_what_is_no_http_is_answered_400_without_a_traceback(
    site: Site, wrong: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", site.server.port)
    writer.write(b"GET /healthz HTTP/1.1\r\n" + wrong + b"\r\n\r\n")
    assert (await reader.readline()).startswith(b"HTTP/1.0 400 ")
    writer.close()
    assert caplog.records == []


async def test_a_client_that_hangs_up_leaves_no_traceback(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", site.server.port)
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n\r\n")
    writer.write_eof()
    assert await reader.read() == b""
    writer.close()
    assert (await site.get("/healthz")).status == 200
    assert caplog.records == []


@pytest.mark.parametrize("path", [b"/healthz", b"/nowhere"])
@pytest.mark.parametrize("expected", [b"100-continue", b"\xff", b"tea"])
async def test_an_expectation_is_ignored(
    site: Site, path: bytes, expected: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", site.server.port)
    writer.write(b"GET %s HTTP/1.1\r\nHost: localhost\r\nExpect: %s\r\n\r\n" % (path, expected))
    status = b"200" if path == b"/healthz" else b"404"
    assert (await reader.readline()).startswith(b"HTTP/1.1 " + status)
    assert b"content-type: application/json" in (await reader.readuntil(b"\r\n\r\n")).lower()
    writer.close()
    assert caplog.records == []


# Health


async def test_a_worker_that_lives_says_so(site: Site) -> None:
    answer = await site.get("/healthz", token=None)
    assert (answer.status, answer.json) == (200, {"alive": True})


async def test_readiness_follows_the_reads(site: Site) -> None:
    answer = await site.get("/readyz", token=None)
    assert (answer.status, answer.json["ready"]) == (503, False)
    assert "no read from Redis" in answer.json["reason"]
    site.worker.readiness.read_completed("events")
    answer = await site.get("/readyz", token=None)
    assert (answer.status, answer.json) == (200, {"ready": True})
    site.worker.readiness.lost("events", "ConnectionError: refused")
    answer = await site.get("/readyz", token=None)
    assert (answer.status, answer.json) == (503, {"ready": False, "reason": "ConnectionError: refused"})


async def test_metrics_are_prometheus_text(site: Site) -> None:
    site.worker.metrics.event("invite", "done", 2)
    answer = await site.get("/metrics", token=None)
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("text/plain; version=")
    assert b'invites_events_total{outcome="done",type="invite"} 2.0' in answer.body


# Invitations


async def test_what_rings_for_a_user(site: Site, client: Redis) -> None:
    await _ring(client, "alice", "i1", "bob")
    answer = await site.get("/v1/users/bob/invitations")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json == {
        "invitations": [
            {
                "inviteId": "i1",
                "from": "alice",
                "to": "bob",
                "group": None,
                "room": None,
                "state": "PENDING",
                "inviteRequest": False,
                "mediatypes": None,
                "context": None,
                "startedAt": None,
                "expiresAt": None,
            }
        ]
    }
    answer = await site.get("/v1/users/nobody/invitations")
    assert (answer.status, answer.json) == (200, {"invitations": []})


async def test_one_invite(site: Site, client: Redis) -> None:
    await _ring(client, "alice", "i1", "bob")
    answer = await site.get("/v1/invites/alice/i1/bob")
    assert answer.status == 200
    assert answer.json["state"] == "PENDING"
    assert [one["peer"] for one in answer.json["candidates"]] == ["b1"]
    assert {"code", "reason", "whoAccepted", "endedAt"} <= answer.json.keys()


async def test_the_state_of_a_user(site: Site, client: Redis) -> None:
    seconds, _ = await client.time()
    for until, dnd in ((seconds + 60, True), (seconds - 60, False)):
        await client.set(KEYS.user_state("bob"), f"1-1|1|{until * 1000}|mallory|sip|")
        await client.hset(KEYS.busy("bob"), mapping={"r2": "b2|1-1", "r1": "b1|1-1|9000"})
        answer = await site.get("/v1/users/bob/state")
        assert (answer.status, answer.json) == (
            200,
            {
                "user": "bob",
                "dnd": dnd,
                "until": until * 1000 if dnd else None,
                "block": ["mallory", "sip"],
                "busy": {"r1": "b1", "r2": "b2"},
            },
        )


async def test_the_state_of_a_user_who_has_said_nothing(site: Site) -> None:
    answer = await site.get("/v1/users/bob/state")
    wanted = {"user": "bob", "dnd": False, "until": None, "block": [], "busy": {}}
    assert (answer.status, answer.json) == (200, wanted)


async def test_an_answer_cannot_steer_the_terminal_of_its_reader(site: Site, client: Redis) -> None:
    evil = "bob\x9b31m\u202e\u200b\U000e0041"
    await _ring(client, "alice", "i1", "bob")
    ref, context = "alice|i1|bob", '{"x":\n"\x7f\u2066"}'
    await client.hset(KEYS.invite(ref), mapping={"room": evil, "context": context})
    answer = await site.get("/v1/invites/alice/i1/bob")
    assert (answer.json["room"], answer.json["context"]) == (evil, {"x": "\x7f\u2066"})
    assert all(one.isprintable() or one == "\n" for one in answer.body.decode())


async def test_an_unknown_invite_is_404(site: Site) -> None:
    for path in ("/v1/invites/alice/i1/bob", "/v1/invites/alice/i1/bob/story"):
        answer = await site.get(path)
        assert (answer.status, answer.json["error"]) == (404, "not_found")


@pytest.mark.parametrize("shards", [1, 7])
async def test_the_story_of_an_invite(site_for: Open, client: Redis, shards: int) -> None:
    site = await site_for(parse({"http": {"port": 0, "token": _TOKEN}, "redis": {"shards": shards}}))
    keys = Keys(shard=shard_of("bob", shards), shards=shards)
    lines = ['5 invite - a1 6-1 1 invitation - ["b1"]', '105 accept - b1 7-0 0 inviteAccepted 200 ["a1"]']
    await client.rpush(keys.story("alice|i1|bob"), *lines, "no step")
    candidate = '{"address":"bob","type":"PEER","state":"ACCEPTED"}'
    fields: dict[Any, Any] = {"state": "ACCEPTED", "code": "200", f"{CANDIDATE}b1": candidate}
    await client.hset(keys.invite("alice|i1|bob"), mapping=fields)
    await client.xgroup_create(keys.notifications, "g1", "6-1", mkstream=True)
    answer = await site.get("/v1/invites/alice/i1/bob/story")
    assert answer.status == 200
    story = answer.json
    assert (story["ref"], story["invite"]["code"], story["cut"], story["groups"]) == (
        "alice|i1|bob",
        200,
        False,
        ["g1"],
    )
    assert story["steps"] == [
        {
            "at": 5, "after": None, "what": "invite", "who": "a1", "code": None, "first": "6-0", "last": "6-1",
            "acknowledgedBy": ["g1"], "readBy": [], "unreadBy": [],
            "told": [{"what": "invitation", "code": None, "who": ["b1"], "more": 0}],
        },
        {
            "at": 105, "after": 100, "what": "accept", "who": "b1", "code": None, "first": "7-0", "last": "7-0",
            "acknowledgedBy": [], "readBy": [], "unreadBy": ["g1"],
            "told": [{"what": "inviteAccepted", "code": 200, "who": ["a1"], "more": 0}],
        },
    ]  # fmt: skip
    [candidate] = story["candidates"]
    assert (candidate["rung"], candidate["accepted"], candidate["ringing"]) == (5, 105, None)
    await client.delete(keys.invite("alice|i1|bob"))
    assert (await site.get("/v1/invites/alice/i1/bob/story")).json["invite"] is None
    await client.delete(keys.story("alice|i1|bob"))
    await client.set(keys.story("alice|i1|bob"), "x")
    assert (await site.get("/v1/invites/alice/i1/bob/story")).status == 404


async def test_a_list_of_invites_in_pages(site: Site, client: Redis) -> None:
    for number in range(5):
        await _ring(client, "alice", f"i{number}", "bob")
        await client.zadd(KEYS.timers, {f"ring|alice|i{number}|bob": number})
    page = (await site.get("/v1/invites?limit=2")).json
    found = [row["ref"] for row in page["invites"]]
    for _ in range(2):
        page = (await site.get(f"/v1/invites?limit=2&cursor={page['cursor']}")).json
        found += [row["ref"] for row in page["invites"]]
    assert found == [f"alice|i{number}|bob" for number in range(5)]
    assert (page["more"], page["cursor"]) == (False, None)
    assert page["invites"][0].keys() == {
        "ref", "inviteId", "from", "to", "kind", "group", "room", "state", "code", "reason", "whoAccepted",
        "inviteRequest", "startedAt", "expiresAt", "endedAt",
    }  # fmt: skip
    await client.hset(KEYS.invite("alice|i3|bob"), mapping={"state": "ACCEPTED"})
    ended = (await site.get("/v1/invites?state=accepted&user=bob")).json
    assert [row["ref"] for row in ended["invites"]] == ["alice|i3|bob"]
    assert (await site.get("/v1/invites?user=nobody%7C*")).json["invites"] == []


@pytest.mark.parametrize(
    "query",
    [
        "state=busy",
        "since=soon",
        "since=-1",
        "limit=0",
        "limit=201",
        "limit=",
        "cursor=x",
        "usr=bob",
        "user=bob&user=carol",
        "user=%fc",
        "since=" + "9" * 30,
    ],
)
async def test_a_list_refuses_what_it_cannot_read(site: Site, query: str) -> None:
    answer = await site.get(f"/v1/invites?{query}")
    assert (answer.status, answer.json["error"]) == (400, "bad_request")


@pytest.mark.parametrize(
    "name",
    [
        "peter@acme.com",
        "a/b",
        "/",
        "100%",
        "%2F",
        "%252F",
        "a%20b",
        "..",
        ".",
        "ümläut",
        "漢字😀",
        "a+b&c=d?e#f",
        ";x=1",
        "x" * 255,
        "😀" * 255,
        '"quoted"\\',
    ],
)
async def test_any_id_can_be_asked_for(site: Site, client: Redis, name: str) -> None:
    await _ring(client, name, name, name)
    encoded = quote(name, safe="").replace(".", "%2E")
    answer = await site.get(f"/v1/invites/{encoded}/{encoded}/{encoded}")
    assert (answer.status, answer.json["inviteId"]) == (200, name)
    answer = await site.get(f"/v1/users/{encoded}/invitations")
    assert [one["to"] for one in answer.json["invitations"]] == [name]


async def test_an_id_is_decoded_once(site: Site, client: Redis) -> None:
    await _ring(client, "alice", "a/b", "bob")
    assert (await site.get("/v1/invites/alice/a%2Fb/bob")).status == 200
    assert (await site.get("/v1/invites/alice/a%2fb/bob")).status == 200
    assert (await site.get("/v1/invites/alice/a%252Fb/bob")).status == 404
    assert (await site.get("/v1/invites/alice/a/b/bob")).status == 404


async def test_ids_that_are_no_utf8_are_refused(site: Site) -> None:
    for path in ("/v1/users/%ff/invitations", "/v1/invites/alice/%c3/bob", "/v1/users/%ed%a0%80/invitations"):
        answer = await site.get(path)
        assert (answer.status, answer.json["error"]) == (400, "bad_request")


async def test_other_paths_and_methods(site: Site) -> None:
    for path in (
        "/",
        "/v1",
        "/v1/users",
        "/v1/users//invitations",
        "/v1/users/bob",
        "/v1/invites/a/b",
        "/metrics/",
    ):
        answer = await site.get(path)
        assert (answer.status, answer.json["error"]) == (404, "not_found"), path
    for path in ("/healthz", "/readyz", "/metrics", "/v1/users/bob/invitations", "/v1/invites/a/b/c"):
        for method in ("POST", "PUT", "DELETE", "PATCH"):
            answer = await site.get(path, method=method)
            assert (answer.status, answer.json["error"]) == (405, "method_not_allowed"), path
            assert "GET" in answer.headers["Allow"]
        assert (await site.get(path, method="HEAD")).body == b""


async def test_no_answer_may_be_stored_or_says_what_it_runs_on(site: Site) -> None:
    for path in ("/healthz", "/readyz", "/metrics", "/v1/users/bob/invitations", "/nowhere"):
        for token in (_TOKEN, None):
            headers = (await site.get(path, token=token)).headers
            assert headers["Cache-Control"] == "no-store"
            assert headers["X-Content-Type-Options"] == "nosniff"
            assert headers["Server"] == "invites"


# Who may ask


@pytest.mark.parametrize(
    "path",
    [
        "/v1/users/bob/invitations",
        "/v1/users/bob/state",
        "/v1/users/bob/calls",
        "/v1/invites",
        "/v1/invites/alice/i1/bob",
        "/v1/invites/alice/i1/bob/story",
    ],
)
async def test_the_token_is_asked_for(site: Site, client: Redis, path: str) -> None:
    await _ring(client, "alice", "i1", "bob")
    for token in (None, "", "wrong", _TOKEN[:-1], _TOKEN + "x", "ümläut"):
        answer = await site.get(path, token=token)
        assert answer.status == 401, token
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        assert _TOKEN.encode() not in answer.body
    assert (await site.get(path)).status == 200
    for headers in (
        {"Authorization": f"bearer  {_TOKEN}"},
        {"Authorization": f"BEARER {_TOKEN}"},
    ):
        assert (await site.get(path, token=None, **headers)).status == 200
    for value in (f"Basic {_TOKEN}", _TOKEN, "Bearer", f"Bearer{_TOKEN}"):
        assert (await site.get(path, token=None, Authorization=value)).status == 401


async def test_without_a_token_this_machine_may_ask(site_for: Open) -> None:
    site = await site_for(_config())
    assert (await site.get("/v1/users/bob/invitations", token=None)).status == 200
    assert (await site.get("/v1/users/bob/invitations", token="whatever")).status == 200


async def test_without_a_token_others_may_not(site_for: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    site = await site_for(_config())
    for remote, allowed in (
        ("127.0.0.1", True),
        ("127.3.2.1", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("192.0.2.7", False),
        ("::ffff:192.0.2.7", False),
        ("fe80::1%eth0", False),
        ("2001:db8::1", False),
        ("", False),
    ):
        monkeypatch.setattr(aiohttp.web.Request, "remote", remote)
        answer = await site.get("/v1/users/bob/invitations", token=None)
        assert answer.status == (200 if allowed else 403), remote
        assert (await site.get("/healthz", token=None)).status == 200


@pytest.mark.parametrize(
    "header",
    [
        "Via", "Forwarded", "X-Forwarded", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host",
        "x-forwarded-port", "X-Forwarded-Server", "X-Forwarded-Prefix", "X-Real-IP", "CF-Connecting-IP", "CF-Ray",
        "True-Client-IP", "X-Client-IP", "X-Cluster-Client-IP", "X-Original-URL", "X-Original-Host", "X-ProxyUser-Ip",
        "Fastly-Client-IP", "Fly-Client-IP", "X-Azure-ClientIP", "X-Envoy-External-Address", "X-Amz-Cf-Id",
        "X-Amzn-Trace-Id", "X-Appengine-User-Ip", "WL-Proxy-Client-IP", "X-Remote-Addr", "CDN-Loop", "X-Varnish",
        "Proxy-Connection", "X-Scheme", "Front-End-Https", "X-ARR-SSL", "X-Originating-IP",
    ],
)  # fmt: skip
async def test_without_a_token_a_proxy_is_not_this_machine(site_for: Open, header: str) -> None:
    site = await site_for(_config())
    for value in ("127.0.0.1", ""):
        answer = await site.get("/v1/users/bob/invitations", token=None, **{header: value})
        assert (answer.status, answer.json["error"]) == (403, "forbidden")
    assert (await site.get("/healthz", token=None, **{header: "x"})).status == 200


async def test_without_a_token_what_programs_send_by_themselves_is_fine(site_for: Open) -> None:
    site = await site_for(_config())
    own = (
        "Accept",
        "User-Agent",
        "Referer",
        "Origin",
        "X-Request-Id",
        "Traceparent",
        "X-B3-TraceId",
        "Connection",
    )
    answer = await site.get("/v1/users/bob/invitations", token=None, **dict.fromkeys(own, "x"))
    assert answer.status == 200


@pytest.mark.parametrize("port", ["", ":8080"])
async def test_without_a_token_only_names_of_this_machine_are_answered(site_for: Open, port: str) -> None:
    """A page that makes its name resolve to 127.0.0.1 sends that name (DNS rebinding)."""
    site, named = await site_for(_config()), await site_for(_config(host="localhost"))
    own = ("localhost", "LocalHost", "localhost.", "127.0.0.1", "127.8.7.6", "[::1]", "[::ffff:127.0.0.1]")
    for host in own:
        answer = await site.get("/v1/users/bob/invitations", token=None, Host=host + port)
        assert answer.status == 200, host
    foreign = (
        "evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "evil.example:80@127.0.0.1", "0.0.0.0",  # noqa: S104 - a header
        "192.0.2.7", "[2001:db8::1]", "localhost:80:80", "", "2130706433", "127.1", "localhost, evil.example",
    )  # fmt: skip
    for host in foreign:
        answer = await site.get("/v1/users/bob/invitations", token=None, Host=host + port)
        assert answer.status in {400, 403}, host
        assert (await named.get("/v1/users/bob/invitations", token=None, Host=host + port)).status != 200
    assert (await site.get("/metrics", token=None, Host="invites-1:8080")).status == 200
    with_token = await site_for(_config(token=_TOKEN))
    assert (await with_token.get("/v1/users/bob/invitations", Host="invites.example")).status == 200


async def test_without_a_token_a_name_is_needed_and_only_one(site_for: Open) -> None:
    site = await site_for(_config(host="127.0.0.1"))
    path = "/v1/users/bob/invitations"
    for request in (
        f"GET {path} HTTP/1.0\r\n\r\n",
        f"GET http://evil.example{path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        f"GET {path} HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\nConnection: close\r\n\r\n",
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", site.server.port)
        writer.write(request.encode())
        status = (await reader.readline()).split()[1]
        assert status in {b"400", b"403"}, request
        writer.close()
        await writer.wait_closed()


async def test_http_host_is_a_name_of_this_machine(site_for: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    site = await site_for(_config(host="127.0.0.1"))
    monkeypatch.setattr(site.server._api, "_config", _config(host="workers.internal"))
    answer = await site.get("/v1/users/bob/invitations", token=None, Host="Workers.internal:8080")
    assert answer.status == 200


# Faults


async def test_redis_away_is_503(site_for: Open) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        site = await site_for(_config(token=_TOKEN), f"redis://127.0.0.1:{closed.getsockname()[1]}")
        for path in ("/v1/users/bob/invitations", "/v1/invites/alice/i1/bob"):
            answer = await site.get(path)
            assert (answer.status, answer.json["error"]) == (503, "redis_away")
        assert (await site.get("/healthz")).status == 200
        assert (await site.get("/metrics")).status == 200


async def test_redis_that_does_not_answer_is_503_in_time(
    site_for: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "_ANSWER_WITHIN_S", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # connects, and never answers
        site = await site_for(_config(token=_TOKEN), f"redis://127.0.0.1:{silent.getsockname()[1]}")
        answer = await site.get("/v1/users/bob/invitations")
        assert (answer.status, answer.json["error"]) == (503, "redis_away")


async def test_requests_in_a_stall_share_a_few_connections(
    site_for: Open, valkey_url: str, client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "_ANSWER_WITHIN_S", 0.5)
    site = await site_for(_config(token=_TOKEN))
    assert (await site.get("/v1/users/bob/invitations")).status == 200
    await client.execute_command("CLIENT", "PAUSE", "4500", "ALL")
    answers = await asyncio.gather(*(site.get("/v1/users/bob/invitations") for _ in range(90)))
    assert {answer.status for answer in answers} == {503}
    assert {answer.json["error"] for answer in answers} == {"redis_away"}
    assert (await site.get("/healthz")).status == 200
    await client.ping()  # the pause is over
    async with connect(valkey_url, "test") as other:
        mine = [one for one in await other.client_list() if ":http:" in one["name"]]
        assert 0 < len(mine) + 1 <= 9
    assert (await site.get("/v1/users/bob/invitations")).status == 200


# Connections


async def _asked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str = "/healthz") -> int:
    """The status of one request; 0 if the connection has been closed."""
    writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return 0
    length = re.search(rb"Content-Length: (\d+)", head)
    assert length is not None
    await reader.readexactly(int(length[1]))
    return int(head.split()[1])


async def test_the_longest_idle_connection_makes_room(
    site_for: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "most_connections", lambda: 3)
    site = await site_for(_config())
    opened = [await asyncio.open_connection("127.0.0.1", site.server.port) for _ in range(3)]
    opened[1][1].write(b"GET /healthz HTTP/1.1\r\nHo")  # never finished
    assert await _asked(*opened[0]) == 200
    assert await _asked(*opened[2]) == 200
    opened.append(await asyncio.open_connection("127.0.0.1", site.server.port))
    assert await _asked(*opened[3]) == 200
    assert await opened[1][0].read() == b""
    assert await _asked(*opened[0]) == 200
    opened.append(await asyncio.open_connection("127.0.0.1", site.server.port))
    assert await _asked(*opened[4]) == 200
    assert await _asked(*opened[2]) == 0
    for _, writer in opened:
        writer.close()


async def test_without_an_idle_connection_a_new_one_is_refused(
    site_for: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "most_connections", lambda: 2)
    monkeypatch.setattr(api, "_ANSWER_WITHIN_S", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        site = await site_for(_config(), f"redis://127.0.0.1:{silent.getsockname()[1]}")
        path = "/v1/users/bob/invitations"
        opened = [await asyncio.open_connection("127.0.0.1", site.server.port) for _ in range(2)]
        asking = [asyncio.create_task(_asked(*one, path)) for one in opened]
        connections = site.server._connections
        assert connections is not None
        await wait_until(lambda: len(connections._busy) == 2, "both requests are being answered")
        refused = [await asyncio.open_connection("127.0.0.1", site.server.port) for _ in range(40)]
        statuses = await asyncio.gather(*(_asked(*one) for one in refused))
        assert set(statuses) == {0, 503}
        assert statuses.count(503) == 16
        assert await asyncio.gather(*asking) == [503, 503]
        opened.append(await asyncio.open_connection("127.0.0.1", site.server.port))
        assert await _asked(*opened[-1]) == 200
        for _, writer in (*opened, *refused):
            writer.close()


def test_connections_are_a_quarter_of_the_file_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    for soft, most in ((16, 8), (256, 64), (1024, 256), (1_000_000, 512), (resource.RLIM_INFINITY, 512)):
        monkeypatch.setattr(resource, "getrlimit", lambda _, soft=soft: (soft, soft))
        assert http_connections.most_connections() == most


async def test_a_fault_of_ours_is_500_and_logged_but_not_told(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_: object) -> None:
        raise ValueError("internal detail")

    monkeypatch.setattr(InviteQueries, "pending", broken)
    with caplog.at_level(logging.ERROR):
        answer = await site.get("/v1/users/bob/invitations")
    assert (answer.status, answer.json["error"]) == (500, "internal")
    assert b"internal detail" not in answer.body
    assert "internal detail" in caplog.text


async def test_a_port_in_use_is_said(site: Site, valkey_url: str) -> None:
    second = HttpServer(_config(port=site.server.port), Worker(), valkey_url)
    with pytest.raises(
        HttpError, match=rf"cannot listen on 127\.0\.0\.1 port {site.server.port}.*http\.port"
    ):
        await second.start()
    await second.aclose()


async def test_a_host_that_is_not_ours_is_said(valkey_url: str) -> None:
    for host in ("192.0.2.1", "no-such-host.invalid", "a..b"):
        server = HttpServer(_config(host=host), Worker(), valkey_url)
        with pytest.raises(HttpError, match="cannot listen"):
            await server.start()


async def test_a_stopped_server_lets_go_of_its_port(site: Site, valkey_url: str) -> None:
    port = site.server.port
    assert (await site.get("/healthz")).status == 200
    await site.server.aclose()
    await site.server.aclose()
    with pytest.raises(RuntimeError, match="not been started"):
        _ = site.server.port
    again = HttpServer(_config(port=port), Worker(), valkey_url)
    await again.start()
    assert again.port == port
    await again.aclose()


async def test_the_history_of_a_user(site: Site, client: Redis) -> None:
    ref, key = "alice|i/1|bob", KEYS.calls_missed("bob")
    call = {
        "inviteId": "i/1", "from": "alice", "to": "bob", "direction": "in", "fromDetails": None, "state": "DECLINED",
        "inviteRequest": False, "code": 480, "reason": "unreachable", "startedAt": 1, "endedAt": 2,
    }  # fmt: skip
    now = int(time.time() * 1000)
    for name in (KEYS.calls_ended("bob"), key):
        await client.zadd(name, {ref: now})
    await client.hset(KEYS.history("bob"), ref, json.dumps(call))
    shown = call | {"group": None, "room": None, "whoAccepted": None, "missed": True, "seen": False}
    for path in ("calls", "calls?missed=1", f"calls?before={now + 1}"):
        answer = await site.get(f"/v1/users/bob/{path}")
        assert (answer.status, answer.json) == (200, {"calls": [shown], "unseen": 1, "more": False})
    assert (await site.get(f"/v1/users/bob/calls?before={now}")).json["calls"] == []
    assert (await site.get("/v1/users/carol/calls")).json == {"calls": [], "unseen": 0, "more": False}


@pytest.mark.parametrize("query", ["missed=0", "missed=", "before=x", "before=-1", "before=", "before=1e3"])
async def test_a_question_about_the_history_that_makes_no_sense(site: Site, query: str) -> None:
    assert (await site.get(f"/v1/users/bob/calls?{query}")).status == 400
