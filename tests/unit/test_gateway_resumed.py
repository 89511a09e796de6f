"""Which of the connections of a peer, at several gateways, is the latest one."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from invites.client import (
    Disconnected,
    GetInvitations,
    Notification,
    Notifications,
    Peer,
    Publisher,
    Registered,
)
from invites.config import Config
from invites.config.sections import Gateway
from invites.notifications import decode_notification
from invites.values.secret import Secret
from tests.support.devices import SECRET
from workers.gateway.connection import Close, Connection
from workers.gateway.login import Identity, Login
from workers.gateway.metrics import GatewayMetrics
from workers.gateway.service import GatewayService

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

GATEWAY = Gateway(secret=Secret(SECRET))


@pytest.fixture
async def publisher() -> AsyncIterator[Publisher]:
    async with Publisher("redis://127.0.0.1:1") as publisher:
        yield publisher


def connection(publisher: Publisher, *, resumed: bool = True) -> Connection:
    socket: Any = None
    identity = Identity("bob", None, time.time() + 600)
    return Connection(
        socket,
        identity,
        Peer("p", "bob"),
        publisher,
        GATEWAY,
        GatewayMetrics(),
        Login(GATEWAY),
        resumed=resumed,
    )


def is_replaced(one: Connection) -> bool:
    return one.ended is not None and one.ended[0] is Close.REPLACED


async def test_all_gateways_agree_on_the_latest_connection_whatever_they_have_seen(
    publisher: Publisher,
) -> None:
    """Each hears of all connections in the order of their events, also of those before its own."""
    first, second, third = (connection(publisher, resumed=number > 0) for number in range(3))
    for heard in (second, third):
        for one in (first, second, third):
            one.hear_of_session(heard.session)
    assert [is_replaced(one) for one in (first, second, third)] == [True, True, False]


async def test_a_repeat_replaces_nothing(publisher: Publisher) -> None:
    one = connection(publisher)
    one.hear_of_session(one.session)
    one.hear_of_session(one.session)
    assert not is_replaced(one)


@pytest.mark.parametrize("has_asked", [True, False])
async def test_the_latest_connection_ends_those_that_may_have_registered_after_it(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch, *, has_asked: bool
) -> None:
    """Of two gateways one may register the peer last, and the other one ask last: the first one is closed.

    One that leaves before it has asked closes nobody, so it ends no other.
    """
    ended: list[str | None] = []

    async def publish(_: Publisher, event: object) -> str:
        if isinstance(event, Disconnected):
            ended.append(event.session)
        return "0-1"

    monkeypatch.setattr(Publisher, "publish", publish)
    other, own = connection(publisher), connection(publisher)
    if has_asked:
        await own._register()
    own.hear_of_session(other.session)
    await own.sign_off()
    assert ended == [own.session, *([other.session] if has_asked else [])]


async def test_a_request_that_is_published_twice_does_not_replace_a_later_connection(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its reply was lost, and the device has connected at this gateway in between."""
    service = GatewayService(Config(gateway=GATEWAY), "redis://127.0.0.1:1")
    former, own = connection(publisher), connection(publisher)

    def answer(one: Connection) -> Notification:
        payload: Any = {"inviteId": None, "from": None, "to": None, "request": "getInvitations", "code": 200}
        payload |= {"transaction": f"resumed:{one.session}", "reason": None, "whoAccepted": None}
        raw = msgspec.json.encode(payload)
        fields = {
            b"id": b"0-1-1",
            b"type": b"answer",
            b"peers": b'["p"]',
            b"users": b'["bob"]',
            b"payload": raw,
        }
        return decode_notification(fields)

    async def come(_: Notifications) -> AsyncIterator[Notification]:
        yield answer(former)
        service._connections.enter(own)
        yield answer(own)
        yield answer(former)

    monkeypatch.setattr(Notifications, "__aiter__", come)
    monkeypatch.setattr(Notifications, "done", lambda *_: None)
    await service._deliver()
    assert not is_replaced(own)
    await service.aclose()


@pytest.mark.parametrize("is_known", [True, False])
async def test_after_a_loss_of_data_it_asks_again_unless_it_has_been_heard_of(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch, *, is_known: bool
) -> None:
    """Repeated for no reason, it would replace a later connection."""
    published: list[type] = []

    async def publish(_: Publisher, event: object) -> str:
        published.append(type(event))
        return "0-1"

    monkeypatch.setattr(Publisher, "publish", publish)
    one = connection(publisher)
    await one._register()
    await one._register()
    if is_known:
        one.hear_of_session(one.session)
    one.register_again()
    await one._register()
    lost = [Registered] if is_known else [Registered, GetInvitations]
    assert published == [Registered, GetInvitations, Registered, *lost]
