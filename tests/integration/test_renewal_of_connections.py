"""After an answer that another server would not give, a client renews its connections."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
from pathlib import Path
from typing import Any

import pytest
from redis import exceptions

from invites.connection.clients import connect
from invites.connection.connections import TcpConnection
from invites.connection.errors import passes
from tests.support.servers.front import CERTIFICATE, OTHER, TlsFront, key_of
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


async def test_an_address_that_leads_nowhere_hides_no_other_one(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    with (
        Node() as node,
        socket.create_server((HOST, 0), backlog=0) as deaf,
        contextlib.ExitStack() as waiting,
    ):
        nowhere: tuple[str, int] = deaf.getsockname()
        for _ in range(3):  # it takes no more connections, and refuses none
            caller = waiting.enter_context(socket.socket())
            caller.setblocking(False)
            caller.connect_ex(nowhere)

        async def find(*_: object, **__: object) -> list[tuple[Any, ...]]:
            return [
                (socket.AF_INET, socket.SOCK_STREAM, 0, "", address)
                for address in (nowhere, (HOST, node.port))
            ]

        monkeypatch.setattr(loop, "getaddrinfo", find)
        async with connect("redis://two-addresses.invalid", "test") as found:
            client: Any = found
            assert await client.ping()


async def test_a_connection_that_is_made_again_uses_the_renewed_certificates(tmp_path: Path) -> None:
    trusted, own, key = (tmp_path / name for name in ("ca.crt", "own.crt", "own.key"))

    def write(certificate: Path) -> None:
        for file in (trusted, own):
            shutil.copy(certificate, file)
        shutil.copy(key_of(certificate), key)

    write(CERTIFICATE)
    options = f"ssl_ca_certs={trusted}&ssl_certfile={own}&ssl_keyfile={key}&ssl_check_hostname=no"
    with Node() as node, TlsFront(node.port, certificate=CERTIFICATE, wanted=CERTIFICATE) as front:
        async with connect(f"rediss://{HOST}:{front.port}?{options}", "test") as found:
            client: Any = found
            before = await client.client_id()
            write(OTHER)
            front.renew(OTHER, wanted=OTHER)
            assert await client.client_id() == before
            node.command("CLIENT", "KILL", "ID", before)
            with pytest.raises(exceptions.ConnectionError):
                await client.ping()
            assert await client.client_id() != before


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
