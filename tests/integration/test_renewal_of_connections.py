"""After an answer that another server would not give, a client makes its connections anew."""

from __future__ import annotations

from typing import Any

import pytest
from redis import exceptions

from invites.connection.clients import connect
from invites.connection.errors import is_away
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
            assert is_away(caught.value)
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
