"""The server loses its data under running workers: they continue, other shard counts stay out, services know."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from invites.connection.errors import RefusedError
from invites.keys import Keys, Stream
from tests.support.forgetting import forget_functions
from tests.support.waiting import wait_until
from tests.support.worker import configured, is_settled, running
from workers.service import Service

if TYPE_CHECKING:
    from invites.config import Config

SHARDS = 2
ALL = [Keys(shard=number, shards=SHARDS) for number in range(SHARDS)]


def _config(shards: int) -> Config:
    config = configured()
    return msgspec.structs.replace(config, redis=msgspec.structs.replace(config.redis, shards=shards))


async def _emptied(client: Any) -> list[Any]:
    """The payloads of all notifications of the type `serverEmptied`, shard by shard."""
    return [
        json.loads(fields[b"payload"])
        for keys in ALL
        for _, fields in await client.xrange(keys.notifications)
        if fields[b"type"] == b"serverEmptied"
    ]


async def _know(client: Any, services: list[Service]) -> bool:
    """Whether all workers have found the server's new data."""
    now = [await client.hget(keys.origin, "id") for keys in ALL]
    return all([shard.shard.origin.encode() for shard in service._shards] == now for service in services)


async def test_a_flush_under_two_workers(client: Any, valkey_url: str) -> None:
    async with contextlib.AsyncExitStack() as stack:
        workers = [await stack.enter_async_context(running(_config(SHARDS), valkey_url)) for _ in range(2)]
        assert await _emptied(client) == []
        for losses in (1, 2):
            await client.flushall()
            await forget_functions(client)
            await wait_until(lambda: _know(client, workers), "both workers know of the loss")
            expected = [{"shard": shard} for shard in range(SHARDS)]
            assert await _emptied(client) == expected, f"after {losses} losses"
        assert [await client.get(keys.layout) for keys in ALL] == [b"2", b"2"]

        another = Service(_config(3), valkey_url)
        with pytest.raises(RefusedError, match="in 2 shards"):
            await another.start()
        await another.aclose()

        question = {"peer": {"id": "p-1", "user": "bob"}}
        for keys in ALL:
            await client.xadd(keys.events, {"type": "getInvitations", "payload": json.dumps(question)})
        events = [Stream.EVENTS.key(keys) for keys in ALL]
        await wait_until(lambda: is_settled(client, *events), "the workers settle events")
        assert not [task for service in workers for task in service._tasks if task.done()]
