"""What the WebSocket gateway refuses, and how long a login lasts."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest

from tests.support.devices import Device, token
from tests.support.gateways import configuration, gateway, is_ready, platform
from tests.support.waiting import wait_until
from workers.aio.gc import LongLived


@pytest.fixture
def no_time_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection is not allowed more messages because the machine is busy."""
    monkeypatch.setattr("workers.gateway.allowance.time", SimpleNamespace(monotonic=lambda: 0.0))


@pytest.mark.usefixtures("no_time_passes")
async def test_who_sends_too_much_is_disconnected(valkey_url: str) -> None:
    async with platform(valkey_url, messages_per_second=5) as service, Device(service.port, "bob") as phone:
        for _ in range(11):
            await phone.send("getInvitations")
        assert await phone.ends() == (4429, "the device sends too many messages")
    async with platform(valkey_url, max_message=1_024) as service, Device(service.port, "bob") as phone:
        longest = '{"type": "getInvitations", "payload": {"device": "é"}}'.encode().ljust(1_024).decode()
        await phone.send_raw(longest)
        await phone.hears("answer")
        await phone.send_raw(longest + " ")
        assert (await phone.ends())[0] == 1009


@pytest.mark.leaks
async def test_who_may_not_connect_hears_why(valkey_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with (
        gateway(valkey_url, configuration(origins=("https://good.example",), max_connections=1)) as service,
        aiohttp.ClientSession(f"http://127.0.0.1:{service.port}") as http,
    ):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await http.ws_connect("/ws", headers={"Origin": "https://evil.example"})
        assert refused.value.status == 403
        login = json.dumps({"type": "login", "payload": {"token": "x"}})
        for first, reason in (
            (None, "no login came within 0.2 s"),
            ("hello", 'a message is {"type": …, "payload": {…}}'),
            ('{"type":"accept"}', "the first message must be a login with a token"),
            (login, "the token is not valid here"),
        ):
            monkeypatch.setattr("workers.gateway.service._LOGIN_WITHIN_S", 0.2 if first is None else 15.0)
            async with http.ws_connect("/ws", headers={"Origin": "https://good.example"}) as socket:
                if first is not None:
                    await socket.send_str(first)
                closed = await socket.receive()
                assert (socket.close_code, str(closed.extra)[: len(reason)]) == (4401, reason)
            await wait_until(lambda: not service._serving, "it has left")
        async with Device(service.port, "bob"):
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await http.ws_connect("/ws")
            assert refused.value.status == 503
        text = await (await http.get("/metrics")).text()
        for what, count in (("origin", 1), ("login", 4), ("connections", 1)):
            assert f'invites_gateway_refused_total{{what="{what}"}} {count}.0' in text
        assert (await http.get("/healthz")).status == 200
        await wait_until(lambda: is_ready(http), "the gateway is ready")


@pytest.mark.leaks
async def test_a_user_may_have_so_many_connections(valkey_url: str) -> None:
    async with (
        gateway(valkey_url, configuration(connections_per_user=2)) as service,
        aiohttp.ClientSession(f"http://127.0.0.1:{service.port}") as http,
        Device(service.port, "bob"),
    ):
        async with Device(service.port, "bob") as second:
            for _ in range(2):
                async with http.ws_connect("/ws") as socket:
                    await socket.send_json({"type": "login", "payload": {"token": token("bob")}})
                    closed = await socket.receive()
                    assert (socket.close_code, closed.extra) == (
                        4403,
                        "the user has 2 connections to this gateway",
                    )
            async with Device(service.port, "bob", resume=second.peer), Device(service.port, "alice"):
                assert (await second.ends())[0] == 4409
        await wait_until(lambda: len(service._connections) == 1, "both have left")
        async with Device(service.port, "bob"):
            pass
        text = await (await http.get("/metrics")).text()
        assert 'invites_gateway_refused_total{what="user"} 2.0' in text


_UPGRADE = b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET / HTTP/1.1\r\nno header\r\n\r\n", b"400"),
        (b"GET /healthz HTTP/1.1\r\n\r\n", b"400"),
        (
            b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\nplain",
            b"200",
        ),
        (b"GET /ws HTTP/1.1\r\nHost: x\r\n\r\n", b"400"),
        (_UPGRADE + "Sec-WebSocket-Key: é\r\n\r\n".encode(), b"400"),
        (
            _UPGRADE
            + b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: a-token\r\n\r\n",
            b"101",
        ),
    ],
)
async def test_a_stranger_writes_nothing_into_the_log(
    valkey_url: str, caplog: pytest.LogCaptureFixture, sent: bytes, status: bytes
) -> None:
    async with gateway(valkey_url, configuration()) as service:
        reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
        writer.write(sent)
        assert (await reader.readline()).split()[1] == status
        writer.write_eof()
        await reader.read()
        writer.transport.abort()
    assert [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING] == []


async def test_connections_that_ask_nothing_keep_no_device_out(
    valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.gateway.service._BESIDES", 1)
    async with platform(valkey_url, max_connections=2) as service:
        silent = [await asyncio.open_connection("127.0.0.1", service.port) for _ in range(3)]
        async with Device(service.port, "bob"), Device(service.port, "alice"):
            for reader, _ in silent[:2]:
                assert await reader.read() == b""
        for _, writer in silent:
            writer.transport.abort()


async def test_a_connection_that_sends_no_end_of_a_message_is_cut_off(valkey_url: str) -> None:
    async with gateway(valkey_url, configuration(messages_per_second=1, max_message=1_024)) as service:
        reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
        writer.write(_UPGRADE + b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"\x01\x80mask" + 40_000 * b"\x00\x80mask")
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
        writer.transport.abort()


async def test_a_device_may_ping_before_it_logs_in(valkey_url: str) -> None:
    async with (
        platform(valkey_url) as service,
        aiohttp.ClientSession(f"http://127.0.0.1:{service.port}") as http,
        http.ws_connect("/ws", autoping=False) as socket,
    ):
        await socket.ping(b"1")
        assert (await socket.receive()).type is aiohttp.WSMsgType.PONG
        await socket.pong()
        await socket.send_json({"type": "login", "payload": {"token": token("bob")}})
        assert (await socket.receive_json())["type"] == "welcome"


@pytest.mark.usefixtures("no_time_passes")
async def test_pongs_that_nobody_has_asked_for_are_limited(valkey_url: str) -> None:
    async with platform(valkey_url) as service, Device(service.port, "bob") as phone:
        assert phone.socket is not None
        for _ in range(101):
            await phone.socket.pong()
        assert await phone.ends() == (4429, "the device sends too many messages")


async def test_a_device_that_is_refused_counts_for_the_next_collection(
    valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: asyncio.Queue[int] = asyncio.Queue()
    monkeypatch.setattr(LongLived, "ended", lambda _, left: ended.put_nowait(left))
    async with (
        gateway(valkey_url, configuration()) as service,
        aiohttp.ClientSession(f"http://127.0.0.1:{service.port}") as http,
    ):
        for _ in range(2):
            async with http.ws_connect("/ws") as socket:
                await socket.send_str("hello")
                await socket.receive()
                async with asyncio.timeout(15):
                    assert await ended.get() == 0


class Clock:
    """The clock of the gateway's connections, ahead of the machine's."""

    ahead_s = 0.0

    def time(self) -> float:
        return time.time() + self.ahead_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr("workers.gateway.connection.time", found)
    return found


async def test_a_login_ends_with_its_token(valkey_url: str, clock: Clock) -> None:
    async with platform(valkey_url, expires=400) as service, Device(service.port, "bob") as phone:
        clock.ahead_s = 700
        assert await phone.ends() == (4401, "the token has expired")


async def test_a_device_logs_in_again_before_its_token_ends_and_stays_connected(
    valkey_url: str, clock: Clock
) -> None:
    """Otherwise a token that ends while a call rings would cut the call off."""
    async with platform(valkey_url, expires=400) as service, Device(service.port, "bob") as phone:
        await phone.send("login", token=token("bob", lasts_s=1_200))
        assert (await phone.hears("welcome"))["peer"] == phone.peer
        clock.ahead_s = 700
        await phone.listens(0.5)
        assert phone.close_code is None
        await phone.send("getInvitations", transaction=1)
        assert (await phone.hears("answer"))["transaction"] == 1


async def test_a_login_ends_with_its_latest_token(valkey_url: str, clock: Clock) -> None:
    """Also if that one ends before the one that it has replaced."""
    async with platform(valkey_url) as service, Device(service.port, "bob") as phone:
        clock.ahead_s = 300
        await phone.send("login", token=token("bob", lasts_s=290))
        assert await phone.ends() == (4401, "the token has expired")


@pytest.mark.parametrize(
    ("claims", "sentence"),
    [
        ({"user": "mallory"}, "the token is of another user or device: connect again"),
        ({"user": "bob", "device": "dev-1"}, "the token is of another user or device: connect again"),
        ({"user": "bob", "lasts_s": -60}, "the token has expired"),
    ],
)
async def test_another_login_of_somebody_else_or_with_a_wrong_token_changes_nothing(
    valkey_url: str, claims: dict[str, Any], sentence: str
) -> None:
    async with platform(valkey_url) as service, Device(service.port, "bob") as phone:
        await phone.send("login", token=token(**claims))
        assert await phone.hears("error") == {"message": sentence, "request": "login"}
        await phone.send("getInvitations")
        assert (await phone.hears("answer"))["code"] == 200
