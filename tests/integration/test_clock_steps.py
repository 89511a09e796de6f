"""A server whose clock steps while a worker runs."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from invites.events.entry import order
from tests.support.servers.clock import MISSING, Clock, library
from tests.support.servers.node import LASTING, Node
from tests.support.waiting import wait_until
from tests.support.worker import Streams, worker

pytestmark = pytest.mark.skipif(library() is None, reason=MISSING)

_HOUR_S = 3_600
_RING_MS = 30_000


def _invite(number: int) -> dict[str, object]:
    peer = {"id": "a1", "user": "alice"}
    return {"peer": peer, "to": "bob", "inviteId": f"call-{number}", "room": "r1", "expires": _RING_MS}


def _accept(number: int) -> dict[str, object]:
    return {"peer": {"id": "b1", "user": "bob"}, "from": "alice", "inviteId": f"call-{number}"}


@pytest.fixture
async def stepping() -> AsyncIterator[tuple[Clock, Node, Streams]]:
    """A server with a clock of its own, and its streams."""
    with Clock() as clock, Node(LASTING, environment=clock.environment) as node:
        async with Redis.from_url(node.url) as client:
            yield clock, node, Streams(client)


async def test_after_a_step_back_calls_go_on_and_ring_so_much_longer(
    stepping: tuple[Clock, Node, Streams],
) -> None:
    clock, node, streams = stepping
    async with worker(node.url) as service:
        await streams.publish("registered", {"registry": {"id": "b1", "user": "bob"}})
        await streams.publish("invite", _invite(1))
        await streams.heard("invitation")
        clock.step(-_HOUR_S)
        before = await streams.publish("invite", _invite(2))
        await streams.heard("invitation", 2)
        assert await streams.publish("accept", _accept(1)) > before
        await streams.publish("accept", _accept(2))
        await streams.heard("inviteAccepted", 2)
        assert service.readiness.state() == (True, "")
        assert await streams.pending() == 0
    now = order(before)[0]
    records = await streams.payloads("INVITE_COMPLETED")
    assert [record["error"] for record in records] == [200, 200]
    assert now - records[1]["endedAt"] > _HOUR_S * 1_000 - _RING_MS


async def test_a_step_ahead_ends_what_rings_and_nothing_else(
    stepping: tuple[Clock, Node, Streams],
) -> None:
    clock, node, streams = stepping
    async with worker(node.url, max_deliveries=1) as service:
        await streams.publish("registered", {"registry": {"id": "b1", "user": "bob"}})
        await streams.publish("invite", _invite(1))
        await streams.heard("invitation")
        clock.step(_HOUR_S / 2)  # notifications that nobody reads are dropped after an hour
        await streams.heard("inviteRejected")
        await streams.publish("invite", _invite(2))
        await streams.heard("invitation", 2)
        await streams.publish("accept", _accept(2))
        await streams.heard("inviteAccepted")
        await wait_until(service.readiness.is_ready, "the worker is ready")
        assert await streams.pending() == 0
        assert await streams.dead() == []
    records = await streams.payloads("INVITE_COMPLETED")
    assert [record["error"] for record in records] == [408, 200]
