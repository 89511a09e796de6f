"""What the gateway does with devices and their messages while Redis keeps it waiting."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from invites.client import Disconnected, Event, Publisher, Registered, StopInvite, UserState
from tests.support.devices import Device, token
from tests.support.gateways import configuration, gateway
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from workers.gateway.service import GatewayService

STOP = {"callee": "alice", "inviteId": "1"}


class Holding:
    """A server that keeps the events of some types until it is `back`.

    `asked` has the types of all events, `published` those that it has taken.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.held: set[type[Event]] = set()
        self.back = asyncio.Event()
        self.asked: list[type[Event]] = []
        self.published: list[type[Event]] = []
        monkeypatch.setattr(Publisher, "publish", self._publish)

    async def _publish(self, event: Event, **_: object) -> str:
        self.asked.append(type(event))
        if type(event) in self.held:
            await self.back.wait()
        self.published.append(type(event))
        return "1-0"


@pytest.fixture
def holding(monkeypatch: pytest.MonkeyPatch) -> Holding:
    return Holding(monkeypatch)


@pytest.fixture
async def service(valkey_url: str, holding: Holding) -> AsyncIterator[GatewayService]:  # noqa: ARG001
    async with gateway(valkey_url, configuration(messages_per_second=1_000)) as service:
        yield service


@contextlib.asynccontextmanager
async def logging_in(
    service: GatewayService, **claims: Any
) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    """The connection of a device that has sent its login, and has no welcome yet."""
    async with (
        aiohttp.ClientSession() as http,
        http.ws_connect(f"http://127.0.0.1:{service.port}/ws", autoping=False) as socket,
    ):
        await socket.send_json({"type": "login", "payload": {"token": token("bob", **claims)}})
        yield socket


async def test_a_device_that_leaves_before_its_registration_is_neither_kept_nor_registered(
    service: GatewayService, holding: Holding
) -> None:
    holding.held = {Registered}
    async with logging_in(service) as socket:
        await wait_until(lambda: len(service._connections) == 1, "it has logged in")
        for _ in range(3):
            await socket.send_json({"type": "userState", "payload": {"dnd": True}})
    await wait_until(lambda: not service._serving, "nothing is left of it")
    holding.back.set()
    assert holding.published == [Disconnected]


async def test_a_device_is_heard_while_its_event_waits(service: GatewayService, holding: Holding) -> None:
    holding.held = {UserState}
    async with logging_in(service) as socket:
        assert (await socket.receive_json())["type"] == "welcome"
        for dnd in (True, False):
            await socket.send_json({"type": "userState", "payload": {"dnd": dnd}})
        await socket.ping(b"1")
        async with asyncio.timeout(15):
            assert (await socket.receive()).type is aiohttp.WSMsgType.PONG
        assert holding.published == [Registered]
        holding.back.set()
        await wait_until(lambda: holding.published[1:] == [UserState, UserState], "both are published")


@pytest.mark.parametrize("logs_out", [True, False])
async def test_what_a_device_has_sent_before_it_leaves_is_published_before_its_end(
    service: GatewayService, holding: Holding, *, logs_out: bool
) -> None:
    holding.held = {StopInvite}
    async with Device(service.port, "bob") as phone:
        await phone.send("stopInvite", **STOP)
        await phone.send("userState", dnd=True)
        if logs_out:
            await phone.send("logout")
            await wait_until(lambda: StopInvite in holding.asked, "its first event waits")
            holding.back.set()
            assert (await phone.ends())[0] == 1000
    holding.back.set()
    await wait_until(lambda: not service._serving, "it has gone")
    assert [one.__name__ for one in holding.published[1:]] == [
        "StopInvite",
        "UserState",
        "Unregistered" if logs_out else "Disconnected",
    ]


async def test_a_device_whose_messages_wait_may_send_only_so_many_more(
    service: GatewayService, holding: Holding
) -> None:
    holding.held = {UserState}
    async with Device(service.port, "bob") as phone:
        await phone.send("userState", dnd=True)
        await wait_until(lambda: UserState in holding.asked, "the first one is under way")
        for number in range(257):
            await phone.send("userState", dnd=True, transaction=number)
        assert await phone.hears("error") == {
            "message": "the service cannot be reached: send it again later",
            "request": "userState",
            "transaction": 256,
        }
        holding.back.set()
        await wait_until(lambda: len(holding.published) == 258, "all others are published")


async def test_a_login_ends_with_its_token_before_it_is_registered(
    service: GatewayService, holding: Holding, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.gateway.login._LEEWAY_S", 0.5)
    holding.held = {Registered}
    async with logging_in(service, lasts_s=0) as socket, asyncio.timeout(15):
        closed = await socket.receive()
        assert (socket.close_code, closed.extra) == (4401, "the token has expired")
