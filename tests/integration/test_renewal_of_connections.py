"""After an answer that another server would not give, a client renews its connections."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from redis import exceptions

from invites.connection.clients import connect
from invites.connection.connections import TcpConnection
from invites.connection.errors import passes
from tests.support.servers.node import HOST, Node

_PRIMARY_WITHOUT_REPLICAS = {"min-replicas-to-write": "1"}
_REPLICA_OF_NOBODY = {"replicaof": f"{HOST} 1"}


@pytest.mark.parametrize(
    ("options", "answer"),
    [(_PRIMARY_WITHOUT_REPLICAS, "NOREPLICAS"), (_REPLICA_OF_NOBODY, "read only replica")],
    ids=["a primary that was left", "a replica"],
)
async def test_what_takes_no_writes_is_asked_for_its_successor(options: dict[str, str], answer: str) -> None:
    with Node(options) as node:
        async with connect(node.url, "test") as found:
            client: Any = found
            before = await client.client_id()
            assert await client.client_id() == before
            with pytest.raises(exceptions.ResponseError, match=answer) as caught:
                await client.set("key", "")
            assert passes(caught.value)
            assert await client.client_id() != before


async def test_what_is_wrong_with_a_command_changes_no_connection() -> None:
    with Node() as node:
        async with connect(node.url, "test") as found:
            client: Any = found
            before = await client.client_id()
            with pytest.raises(exceptions.ResponseError, match="wrong number"):
                await client.execute_command("GET")
            with pytest.raises(exceptions.NoScriptError):
                await client.execute_command("EVALSHA", "0" * 40, 0)
            assert await client.client_id() == before


async def test_a_task_that_is_cancelled_as_its_command_leaves_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    with Node() as node:
        async with connect(node.url, "test") as found:
            client: Any = found
            await client.ping()
            task: asyncio.Task[None] | None = None
            send = TcpConnection._send_packed_command

            async def send_and_cancel(connection: TcpConnection, command: list[bytes]) -> None:
                await send(connection, command)
                if task:
                    task.cancel()

            monkeypatch.setattr(TcpConnection, "_send_packed_command", send_and_cancel)
            task = asyncio.create_task(client.ping())
            with pytest.raises(asyncio.CancelledError):
                await task
            task = None
            assert await client.echo("mine") == b"mine"  # not the reply to the command that nobody awaits
