"""The HTTP server of the phones page: what it serves, to whom, and what a page may load."""

from __future__ import annotations

import asyncio
import contextlib
import re
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from aiohttp import ClientSession, ClientTimeout

from invites.client import Publisher
from invites.keys import Keys
from workers.cli.app import invoke
from workers.gateway.login import new_peer
from workers.lab.page.access import Access, PageError, listen
from workers.lab.page.crew import Crew
from workers.lab.page.feed import Feed
from workers.lab.page.keys import CallKeys
from workers.lab.page.network import Network
from workers.lab.page.rooms import Rooms
from workers.lab.page.server import PageServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from workers.lab.child_process import ChildProcess

_SECRET = "a secret of thirty-two bytes or more"
_NOWHERE = "redis://127.0.0.1:1"  # nothing listens there
_LOADED = re.compile(r'(?:src|href)="(/[^"]*)"|from "\.(/[^"]+)"')


class _Page:
    """A page's server in this process, without anything behind it."""

    def __init__(self, access: Access, feed: Feed, port: int) -> None:
        self.access = access
        self.feed = feed
        self.port = port
        self.headers: dict[str, str] = {}

    async def ask(self, path: str, method: str = "GET", body: str | None = None, **headers: str) -> Any:
        """Status, headers and text of an answer to a request for this very path."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        fields = {"Host": f"127.0.0.1:{self.port}", "Connection": "close", **self.headers, **headers}
        if body is not None:
            fields["Content-Length"] = str(len(body))
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        writer.write(f"{method} {path} HTTP/1.1\r\n{head}\r\n{body or ''}".encode())
        raw = (await reader.read()).decode()
        writer.close()
        head, _, text = raw.partition("\r\n\r\n")
        status, *lines = head.split("\r\n")
        return int(status.split()[1]), dict(line.split(": ", 1) for line in lines), text


def _no_worker() -> ChildProcess:
    raise AssertionError


@contextlib.asynccontextmanager
async def _page(host: str = "127.0.0.1") -> AsyncIterator[_Page]:
    with listen(host, 0) as listening:
        address, port = listening.getsockname()
        access, feed = Access(host, address, port), Feed()
        async with Publisher(_NOWHERE) as publisher:
            rooms, call_keys = Rooms(publisher, feed), CallKeys(_NOWHERE, Keys())
            server = PageServer(
                access,
                feed,
                rooms,
                Network(publisher, rooms),
                Crew(_no_worker, feed),
                call_keys,
                secret=_SECRET,
            )
            await server.start(listening, 8090)
            try:
                yield _Page(access, feed, port)
            finally:
                await server.aclose()
                await call_keys.aclose()


@pytest.fixture
async def page() -> AsyncIterator[_Page]:
    async with _page() as found:
        yield found


@pytest.mark.parametrize("path", ["/", "/device?user=bob&device=phone"])
async def test_a_page_loads_only_its_own_files(page: _Page, path: str) -> None:
    status, headers, text = await page.ask(path)
    assert status == 200
    assert headers["Content-Security-Policy"] == (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self' ws://127.0.0.1:8090; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert not re.search(r"<style|style=|<script>| on\w+=", text), "nothing stands in the page itself"
    seen: set[str] = set()
    wanted = {match[0] or f"/static{match[1]}" for match in _LOADED.findall(text)}
    while wanted - seen:
        for file in wanted - seen:
            seen.add(file)
            status, headers, text = await page.ask(file)
            assert (file, status) == (file, 200)
            kinds = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
            assert headers["Content-Type"].startswith(kinds[file[file.rindex(".") :]])
            wanted |= {f"/static{match[1]}" for match in _LOADED.findall(text) if match[1]}
    assert len(seen) >= 15


@pytest.mark.parametrize(
    "path",
    [
        "/static/../server.py", "/static/%2e%2e/server.py", "/static/..%2fserver.py", "/static//etc/passwd",
        "/static/", "/server.py",
    ],
)  # fmt: skip
async def test_no_path_leads_out_of_its_files(page: _Page, path: str) -> None:
    assert (await page.ask(path))[0] == 404


async def test_a_device_gets_a_token_and_nobody_else(page: _Page) -> None:
    status, _, text = await page.ask("/api/token?device=bob-phone")
    assert status == 200
    claims = jwt.decode(text.split('"')[3], _SECRET, algorithms=["HS256"])
    assert (claims["sub"], claims["device"]) == ("bob", "bob-phone")
    assert (await page.ask("/api/token?device=admin"))[0] == 404


async def test_a_foreign_page_can_do_nothing(page: _Page) -> None:
    """Neither under its own name that leads here (DNS rebinding), nor by a form."""
    assert (await page.ask("/api/token?device=bob-phone", Host="somewhere.example"))[0] == 421
    foreign = {"Origin": "http://somewhere.example"}
    for path in ("/api/workers/1/kill", "/api/rooms/join", "/api/rooms/leave", "/api/network"):
        assert (await page.ask(path, "POST", "{}"))[0] == 403
        assert (await page.ask(path, "POST", "{}", **foreign))[0] == 403


async def test_wrong_requests_get_a_sentence(page: _Page) -> None:
    own = {"Origin": page.access.origins[0]}
    mallory = f'{{"room":"r","device":"bob-phone","peer":"{new_peer("mallory")}"}}'
    assert (await page.ask("/api/rooms/join", "POST", mallory, **own))[0::2] == (
        400,
        "field peer is no connection of this device\n",
    )
    assert (await page.ask("/api/network", "POST", '{"action":"steal"}', **own))[0] == 400
    assert (await page.ask("/api/workers/7/kill", "POST", "", **own))[0] == 404
    assert (await page.ask("/api/workers/-1/kill", "POST", "", **own))[0] == 404
    assert (await page.ask("/api/keys"))[0] == 400
    assert (await page.ask("/api/rooms/join", "POST", " " * 5_000, **own))[0] == 413


async def test_a_page_that_others_can_reach_has_a_key() -> None:
    async with _page("0.0.0.0") as page:  # noqa: S104 - that is what is tested
        assert page.access.key is not None
        assert page.access.url.endswith(f"/?key={page.access.key}")
        for path in ("/", "/static/main.js", "/api/token?device=bob-phone", "/?key=wrong", "/?key=%C3%A9"):
            assert (await page.ask(path))[0] == 403
        status, headers, _ = await page.ask(f"/device?user=bob&key={page.access.key}&device=phone")
        assert (status, headers["Location"]) == (303, "/device?user=bob&device=phone")
        assert "HttpOnly" in headers["Set-Cookie"]
        page.headers["Cookie"] = headers["Set-Cookie"].partition(";")[0]
        assert (await page.ask("/api/token?device=bob-phone"))[0] == 200


async def test_the_feed_goes_on_where_it_was(page: _Page) -> None:
    page.feed.add({"number": 1})
    page.feed.add({"number": 2})
    own = f"http://127.0.0.1:{page.port}/api/feed"
    async with ClientSession(timeout=ClientTimeout(10)) as session:
        async with session.get(own) as feed:
            assert await _told(feed) == ["entry 1", "entry 2", "run", "rooms", "ready"]
            page.feed.add({"number": 3})
            assert await _told(feed, "entry 3") == ["entry 3"]
        async with session.get(own, headers={"Last-Event-ID": "2"}) as feed:
            assert await _told(feed) == ["entry 3", "run", "rooms", "ready"]
            page.feed.end()
            assert await feed.content.read() == b"data: null\n\n"


async def _told(feed: Any, last: str = "ready") -> list[str]:
    told = []
    identity = ""
    while True:
        line = (await feed.content.readline()).decode().strip()
        if line.startswith("id: "):
            identity = line[3:]
        elif line.startswith("event: "):
            told.append(line[7:] + identity)
            identity = ""
            if told[-1] == last:
                return told


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "localhost"])
def test_a_loopback_address_needs_no_key(host: str) -> None:
    with listen(host, 0) as listening:
        address, port = listening.getsockname()
    access = Access(host, address, port)
    assert (access.key, access.url) == (None, f"http://{address}:{port}/")
    assert access.is_host(f"localhost:{port}")
    assert not access.is_host("localhost")


def test_any_other_address_needs_one() -> None:
    access = Access("Phones.example", "192.168.0.7", 80)
    assert access.key
    assert access.url == f"http://phones.example:80/?key={access.key}"
    assert {"http://phones.example", "http://192.168.0.7:80", "http://localhost"} <= set(access.origins)
    assert access.is_host("PHONES.example")


def test_an_address_that_cannot_be_used_is_named() -> None:
    with listen("127.0.0.1", 0) as listening:
        port = listening.getsockname()[1]
        with pytest.raises(
            PageError, match=f"cannot listen on 127.0.0.1 port {port}: Address already in use"
        ):
            listen("127.0.0.1", port)
    for host in ("no host", "::1"):
        with pytest.raises(PageError, match=f"cannot listen on {host} port 1: .* an IPv4 address"):
            listen(host, 1)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--host", "127.0.0.1"], "--host and --port need --page."),
        (["--port", "0"], "--host and --port need --page."),
        (["--page", "--svg", "x.svg"], "--svg and --page exclude each other."),
    ],
)
def test_wrong_use_is_refused(capsys: pytest.CaptureFixture[str], options: list[str], sentence: str) -> None:
    assert invoke(["demo", *options]) == 2
    assert capsys.readouterr().err == f"invites: {sentence}\n"
