"""How much may wait at the gateway for a device that reads slowly."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from invites.client import Event, Peer
from invites.config.sections import Gateway
from invites.values.secret import Secret
from tests.support.devices import SECRET
from tests.support.waiting import wait_until
from workers.gateway.connection import Connection
from workers.gateway.login import Identity, Login
from workers.gateway.metrics import GatewayMetrics

GATEWAY = Gateway(secret=Secret(SECRET))


class _Slow:
    """A socket that takes a frame only when `reads` is set."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []
        self.reads = asyncio.Event()
        self.closed: tuple[int, bytes] | None = None

    async def send_frame(self, frame: bytes, _: object) -> None:
        await self.reads.wait()
        self.taken.append(frame)

    async def close(self, *, code: int, message: bytes) -> None:
        self.closed = code, message

    def __aiter__(self) -> _Slow:
        return self

    async def __anext__(self) -> object:
        await asyncio.Event().wait()
        raise AssertionError


class _Publisher:
    """Publishes at once."""

    async def publish(self, _: Event) -> str:
        return "1-0"


@pytest.fixture
def slow() -> tuple[_Slow, Connection]:
    socket: Any = _Slow()
    publisher: Any = _Publisher()
    identity = Identity("bob", None, time.time() + 600)
    return socket, Connection(
        socket, identity, Peer("p", "bob"), publisher, GATEWAY, GatewayMetrics(), Login(GATEWAY)
    )


@pytest.mark.parametrize(("size", "most"), [(1, 256), (16_384, 64), (1_048_576, 1)])
async def test_a_device_that_does_not_read_is_disconnected(
    slow: tuple[_Slow, Connection], size: int, most: int
) -> None:
    socket, connection = slow
    for _ in range(most):
        connection.send(b"x" * size)
    connection.send(b"x")
    assert connection.ended is not None
    socket.reads.set()
    await connection.run()
    assert socket.closed == (4413, b"the device reads too slowly")
    assert len(socket.taken) == most


async def test_what_was_sent_makes_room(slow: tuple[_Slow, Connection]) -> None:
    socket, connection = slow
    running = asyncio.create_task(connection.run())
    socket.reads.set()
    for number in range(5):
        connection.send(b"x" * 1_000_000)
        await wait_until(lambda sent=number + 1: len(socket.taken) == sent, "the frame is sent")  # type: ignore[misc]
    assert connection.ended is None
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
