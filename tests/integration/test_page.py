"""`invites demo --page` without a browser: what its server shows to whom, and it ends everything that it started."""

from __future__ import annotations

import http.client
import re
import signal
from typing import TYPE_CHECKING, Any

import aiohttp
import msgspec
import pytest

from tests.support.demos import demo, nothing_is_left, using

if TYPE_CHECKING:
    from pathlib import Path


class _Browser:
    """Asks the page's server."""

    def __init__(self, port: int) -> None:
        self._port = port

    def json(self, path: str) -> Any:
        status, body = self._ask("GET", path)
        assert status == 200, body
        return msgspec.json.decode(body)

    def post(self, path: str, content: object, origin: str) -> int:
        return self._ask("POST", path, msgspec.json.encode(content), {"Origin": origin})[0]

    def _ask(self, method: str, path: str, body: bytes = b"", headers: Any = None) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        found = answer.status, answer.read()
        connection.close()
        return found


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Short enough for a unix socket."""
    return tmp_path_factory.mktemp("d")


async def test_devices_of_the_page_call_each_other_and_a_signal_ends_everything(folder: Path) -> None:
    # Variables that a person exported for another installation are not meant for this one.
    exported = {
        "INVITES_GATEWAY_SECRET": "another secret of thirty-two bytes",
        "INVITES_WAC_PASSWORD": "other",
    }
    with demo(folder, "--page", "--port", "0", PYTHONUNBUFFERED="1", **exported) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        printed = re.fullmatch(r"Phones ring at (http://127\.0\.0\.1:(\d+)/)\n", process.stdout.readline())
        assert printed
        browser = _Browser(int(printed[2]))
        own, foreign = printed[1].rstrip("/"), "http://somewhere.example"
        gateway_port = browser.json("/api/cast")["gatewayPort"]
        url = f"http://127.0.0.1:{gateway_port}/ws"
        async with aiohttp.ClientSession() as session:
            with pytest.raises(aiohttp.WSServerHandshakeError, match="403"):
                await session.ws_connect(url, headers={"Origin": foreign})
            sockets, peers = {}, {}
            for device in ("anna-browser", "bob-desk"):
                sockets[device] = await session.ws_connect(url, headers={"Origin": own})
                await _send(
                    sockets[device], "login", token=browser.json(f"/api/token?device={device}")["token"]
                )
                peers[device] = (await _hear(sockets[device], "welcome"))["peer"]
            anna, bob = sockets.values()
            await _send(anna, "invite", to="bob", inviteId="1", room="room-1")
            rung = await _hear(bob, "invitation")
            found = {one["key"]: one for one in browser.json("/api/keys?from=anna&inviteId=1")}
            assert ["state", "PENDING"] in found["invites:{0}:invite:anna|1|bob"]["values"]
            assert found["invites:{0}:pending:bob"]["values"] == [["anna|1|bob"]]
            await _send(bob, "decline", **{name: rung[name] for name in ("from", "inviteId", "to")})
            assert (await _hear(anna, "inviteRejected"))["code"] == 603
            async with session.get(f"{own}/api/feed") as response:
                feed = _Feed(response)
                await feed.says('"type":"inviteRejected"')
                await _the_telephone_is_answered_and_left_alone(
                    browser, own, feed, anna, peers["anna-browser"]
                )
                assert browser.post("/api/workers/1/kill", {}, foreign) == 403
                assert browser.post("/api/workers/1/kill", {}, own) == 204
                await feed.says("workerEnded")
                await _send(anna, "invite", to="bob", inviteId="3", room="room-3")
                assert (await _hear(bob, "invitation"))["inviteId"] == "3"
                await feed.says('"kind":"push"')  # Bob's phone sleeps
        assert using(folder), "server, workers and gateway run"
        process.send_signal(signal.SIGINT)
        assert process.wait(15) == 0
        assert process.stderr.read() == ""
    nothing_is_left(folder)


async def _the_telephone_is_answered_and_left_alone(
    browser: _Browser, own: str, feed: _Feed, anna: aiohttp.ClientWebSocketResponse, peer: str
) -> None:
    number = browser.json("/api/cast")["network"]["number"]
    await _send(anna, "invite", to=number, inviteId="2", room="room-2")
    while (await _hear(anna, "inviteProgress"))["code"] != 180:
        pass
    answered = {"action": "accept", "from": "anna", "inviteId": "2", "to": number}
    assert browser.post("/api/network", answered, own) == 204
    assert (await _hear(anna, "inviteAccepted"))["whoAccepted"] == number
    entered = {"room": "room-2", "device": "anna-browser", "peer": peer}
    assert browser.post("/api/rooms/join", entered, own) == 204
    await feed.says('"type":"userJoined"')
    assert browser.post("/api/rooms/leave", entered, own) == 204
    await feed.says('"type":"roomCleaned"')


async def _send(socket: aiohttp.ClientWebSocketResponse, kind: str, **payload: Any) -> None:
    await socket.send_str(msgspec.json.encode({"type": kind, "payload": payload}).decode())


async def _hear(socket: aiohttp.ClientWebSocketResponse, kind: str) -> Any:
    while True:
        message = await socket.receive_json(timeout=10)
        if message["type"] == kind:
            return message["payload"]


class _Feed:
    """The feed so far."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.told = ""
        self._lines = response.content

    async def says(self, text: str) -> None:
        """Wait until the feed has a line with this text."""
        while text not in self.told:
            line = await self._lines.readline()
            assert line, f"the feed has ended before {text}"
            self.told += line.decode()
