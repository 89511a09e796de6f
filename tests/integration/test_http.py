"""The HTTP server of a worker: access, answers, and the behaviour while Redis is unreachable."""

from __future__ import annotations

import asyncio
import logging
import re
import resource
import socket

import aiohttp
import pytest
from redis.asyncio import Redis

from invites.connection.clients import connect
from invites.queries.invites import InviteQueries
from tests.support.site import TOKEN, Open, Site, Worker, config, ring
from tests.support.waiting import wait_until
from workers.http import api
from workers.http import connections as http_connections
from workers.http import server as http
from workers.http.server import HttpError, HttpServer

pytestmark = pytest.mark.leaks  # these tests write the keys themselves


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
        for token in (TOKEN, None):
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
    await ring(client, "alice", "i1", "bob")
    for token in (None, "", "wrong", TOKEN[:-1], TOKEN + "x", "ümläut"):
        answer = await site.get(path, token=token)
        assert answer.status == 401, token
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        assert TOKEN.encode() not in answer.body
    assert (await site.get(path)).status == 200
    for headers in (
        {"Authorization": f"bearer  {TOKEN}"},
        {"Authorization": f"BEARER {TOKEN}"},
    ):
        assert (await site.get(path, token=None, **headers)).status == 200
    for value in (f"Basic {TOKEN}", TOKEN, "Bearer", f"Bearer{TOKEN}"):
        assert (await site.get(path, token=None, Authorization=value)).status == 401


async def test_without_a_token_this_machine_may_ask(site_for: Open) -> None:
    site = await site_for(config())
    assert (await site.get("/v1/users/bob/invitations", token=None)).status == 200
    assert (await site.get("/v1/users/bob/invitations", token="whatever")).status == 200


async def test_without_a_token_others_may_not(site_for: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    site = await site_for(config())
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
    site = await site_for(config())
    for value in ("127.0.0.1", ""):
        answer = await site.get("/v1/users/bob/invitations", token=None, **{header: value})
        assert (answer.status, answer.json["error"]) == (403, "forbidden")
    assert (await site.get("/healthz", token=None, **{header: "x"})).status == 200


async def test_without_a_token_what_programs_send_by_themselves_is_fine(site_for: Open) -> None:
    site = await site_for(config())
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
    site, named = await site_for(config()), await site_for(config(host="localhost"))
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
    with_token = await site_for(config(token=TOKEN))
    assert (await with_token.get("/v1/users/bob/invitations", Host="invites.example")).status == 200


async def test_without_a_token_a_name_is_needed_and_only_one(site_for: Open) -> None:
    site = await site_for(config(host="127.0.0.1"))
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
    site = await site_for(config(host="127.0.0.1"))
    monkeypatch.setattr(site.server._api, "_config", config(host="workers.internal"))
    answer = await site.get("/v1/users/bob/invitations", token=None, Host="Workers.internal:8080")
    assert answer.status == 200


# Faults


async def test_redis_away_is_503(site_for: Open) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        site = await site_for(config(token=TOKEN), f"redis://127.0.0.1:{closed.getsockname()[1]}")
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
        site = await site_for(config(token=TOKEN), f"redis://127.0.0.1:{silent.getsockname()[1]}")
        answer = await site.get("/v1/users/bob/invitations")
        assert (answer.status, answer.json["error"]) == (503, "redis_away")


async def test_requests_in_a_stall_share_a_few_connections(
    site_for: Open, valkey_url: str, client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "_ANSWER_WITHIN_S", 0.5)
    site = await site_for(config(token=TOKEN))
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
    site = await site_for(config())
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
        site = await site_for(config(), f"redis://127.0.0.1:{silent.getsockname()[1]}")
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
    second = HttpServer(config(port=site.server.port), Worker(), valkey_url)
    with pytest.raises(
        HttpError, match=rf"cannot listen on 127\.0\.0\.1 port {site.server.port}.*http\.port"
    ):
        await second.start()
    await second.aclose()


async def test_a_host_that_is_not_ours_is_said(valkey_url: str) -> None:
    for host in ("192.0.2.1", "no-such-host.invalid", "a..b"):
        server = HttpServer(config(host=host), Worker(), valkey_url)
        with pytest.raises(HttpError, match="cannot listen"):
            await server.start()


async def test_a_stopped_server_lets_go_of_its_port(site: Site, valkey_url: str) -> None:
    port = site.server.port
    assert (await site.get("/healthz")).status == 200
    await site.server.aclose()
    await site.server.aclose()
    with pytest.raises(RuntimeError, match="not been started"):
        _ = site.server.port
    again = HttpServer(config(port=port), Worker(), valkey_url)
    await again.start()
    assert again.port == port
    await again.aclose()
