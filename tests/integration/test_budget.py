"""A worker holds a limited number of bytes: it reads large entries a few at a time, and each of them is settled."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Any

import pytest

from invites.connection.clients import connect
from tests.memory import highest_memory
from tests.support.servers.node import Node
from tests.support.waiting import wait_until
from tests.support.worker import KEYS, Streams, configured, worker
from workers.service import Service

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

MIB = 1024 * 1024
_TINY = 500  # bytes: some four questions


@contextlib.asynccontextmanager
async def _tiny(url: str) -> AsyncIterator[Service]:
    """A worker whose budget is tiny, and is whole again at the end."""
    service = Service(configured(), url, consumer="tiny")
    service._context.budget.room = _TINY
    try:
        await service.start()
        yield service
        # A worker handles the outcomes a moment after the answers are out.
        await wait_until(lambda: service._context.budget.room == _TINY, "nothing is in flight")
    finally:
        await service.aclose()


async def test_what_exceeds_the_budget_goes_through_bit_by_bit(streams: Streams, valkey_url: str) -> None:
    await streams.ask(0, 100)
    async with _tiny(valkey_url):
        await streams.assert_answered(100)
        await streams.ask(100, 100)
        await streams.assert_answered(200)


@pytest.mark.parametrize("consumer", ["tiny", "gone"])
async def test_what_was_delivered_before_is_taken_up_bit_by_bit(
    streams: Streams, valkey_url: str, consumer: str
) -> None:
    """Entries that are pending for the worker itself are read again, those of another one are claimed."""
    await streams.make_group()
    await streams.ask(0, 50)
    await streams.strand(50, consumer)
    async with _tiny(valkey_url):
        await streams.assert_answered(50)


async def test_an_entry_that_is_larger_than_the_budget_is_settled(streams: Streams, valkey_url: str) -> None:
    await streams.ask(0, 10)
    await streams.publish("getInvitations", b"x" * MIB)
    await streams.ask(10, 10)
    async with _tiny(valkey_url):
        await streams.assert_answered(20)
        [letter] = await streams.dead()
        assert letter["error"] == f"field payload has {MIB} bytes; at most 65536 are allowed"


@pytest.mark.parametrize("consumer", [None, "gone"], ids=["new", "left by another"])
async def test_replies_that_the_server_cuts_off_become_smaller(consumer: str | None) -> None:
    """The server closes a connection whose replies take more memory than `client-output-buffer-limit` allows."""
    with Node({"client-output-buffer-limit": "normal 1mb 1mb 10"}) as node:
        async with connect(node.url, "test") as client:
            streams = Streams(client)
            await streams.make_group()
            for _ in range(20):
                await streams.publish("getInvitations", b"x" * (MIB // 5))
            if consumer is not None:
                for _ in range(20):
                    await streams.strand(1, consumer)
            async with worker(node.url, consumer="small"):

                async def all_settled() -> bool:
                    return len(await streams.dead()) == 20

                await wait_until(all_settled, "each large event is a dead letter")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("place", ["waiting", "behind"])
async def test_large_events_take_little_memory(client: Any, valkey_url: str, place: str) -> None:
    """`python -m tests.memory` with less: 160 MiB of events, which must not all be in the worker at once."""
    memory = await highest_memory(client, valkey_url, place, events=80, size=2 * MIB, small=1_000)
    assert memory < 220 * MIB
    await wait_until(lambda: _has_letters(client, 80), "each is a dead letter")
    assert (await client.memory_usage(KEYS.dead, samples=0) or 0) < 2 * MIB


async def _has_letters(client: Any, count: int) -> bool:
    return int(await client.xlen(KEYS.dead)) == count
