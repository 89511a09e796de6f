"""Commands in order over one connection, the next one sent before the answer of the first."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any, cast

import hiredis
import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as LostError
from redis.exceptions import DataError, ResponseError
from redis.exceptions import TimeoutError as LateError

from invites.connection.clients import connect
from invites.connection.connections import TcpConnection
from invites.connection.ordered import OrderedClient, _Line
from tests.support.waiting import wait_until
from workers.lab.embedded import EmbeddedValkey

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Held:
    """A server that keeps its requests, and answers on request."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.connections = 0
        self._writers: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the greeting of a client and hold back the rest."""
        self.connections += 1
        self._writers.append(writer)
        commands = hiredis.Reader()
        with contextlib.suppress(ConnectionError):  # the client aborts what it loses
            while data := await reader.read(65536):
                commands.feed(data)
                while (command := commands.gets()) is not False:
                    if command[0] == b"CLIENT":
                        writer.write(b"+OK\r\n")
                    else:
                        self.asked.append(command[-1].decode())
        writer.close()

    def close(self) -> None:
        """Cut all connections."""
        for writer in self._writers:
            writer.transport.abort()

    def answer(self, *lines: str) -> None:
        """Send replies over the last connection."""
        self._writers[-1].write("".join(f"{line}\r\n" for line in lines).encode())

    def drop(self) -> None:
        """Cut the last connection."""
        self._writers[-1].transport.abort()

    async def was_asked(self, count: int) -> None:
        await wait_until(lambda: len(self.asked) >= count, f"the server has {count} commands")


@contextlib.asynccontextmanager
async def _client(url: str) -> AsyncIterator[OrderedClient]:
    async with connect(url, "ordered") as client:
        ordered = OrderedClient(client)
        try:
            yield ordered
        finally:
            await ordered.aclose()


@pytest.fixture
async def held() -> AsyncIterator[tuple[Held, OrderedClient]]:
    """A server that answers by hand, and a client of it."""
    held = Held()
    async with await asyncio.start_server(held.serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with _client(f"redis://127.0.0.1:{port}/0") as ordered:
            yield held, ordered
        held.close()
        server.close()


def _ask(client: OrderedClient, text: str) -> asyncio.Task[Any]:
    return asyncio.create_task(client.execute_command("ECHO", text))


async def _under_way(server: Held, client: OrderedClient, text: str) -> asyncio.Task[Any]:
    """A command that the server has, after those before it, and has not answered."""
    count = len(server.asked) + 1
    asked = _ask(client, text)
    await server.was_asked(count)
    return asked


async def _errors_of(*asked: asyncio.Task[Any]) -> list[type]:
    """What each command fails with."""
    return [type(found) for found in await asyncio.gather(*asked, return_exceptions=True)]


def _line_of(client: OrderedClient) -> _Line:
    """The connection that the client has."""
    assert client._line
    return client._line


async def test_the_server_has_the_next_commands_before_it_answers(held: tuple[Held, OrderedClient]) -> None:
    server, client = held
    asked = [_ask(client, name) for name in "abc"]
    await server.was_asked(3)
    assert (server.asked, server.connections) == (["a", "b", "c"], 1)
    server.answer("+1", "+2", "+3")
    assert await asyncio.gather(*asked) == [b"1", b"2", b"3"]


async def test_an_error_is_that_of_its_command_alone(held: tuple[Held, OrderedClient]) -> None:
    server, client = held
    first, second = _ask(client, "a"), _ask(client, "b")
    await server.was_asked(2)
    server.answer("-ERR no", "+2")
    with pytest.raises(ResponseError, match="no"):
        await first
    assert await second == b"2"


async def test_what_the_server_did_for_others_before_does_not_count_as_time_of_a_command(
    held: tuple[Held, OrderedClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, client = held
    clock = iter([12.0, 15.0, 21.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    called_at = [10.0, 11.0, 20.0]
    assert [client.took(at) for at in called_at] == [2.0, 3.0, 1.0]


async def test_who_is_cancelled_takes_nobodys_answer(held: tuple[Held, OrderedClient]) -> None:
    server, client = held
    first, second = _ask(client, "a"), _ask(client, "b")
    await server.was_asked(2)
    first.cancel()
    server.answer("+1", "+2")
    assert await second == b"2"
    assert first.cancelled()


async def test_who_is_cancelled_while_a_command_is_sent_disturbs_nobody(
    held: tuple[Held, OrderedClient],
) -> None:
    server, client = held
    first = await _under_way(server, client, "a")
    second = _ask(client, "b" * 8_000_000)  # more than a socket takes at once
    for _ in range(4):
        await asyncio.sleep(0)
    second.cancel()
    third = _ask(client, "c")
    await wait_until(lambda: server.asked[-1] == "c", "the third is there")
    server.answer(*(f"+{text[:1]}" for text in server.asked))
    assert list(await asyncio.gather(first, third)) == [b"a", b"c"]


async def test_a_command_that_cannot_be_sent_fails_alone(held: tuple[Held, OrderedClient]) -> None:
    server, client = held
    first = _ask(client, "a")
    refused: Any = asyncio.create_task(client.execute_command("ECHO", cast("Any", object())))
    second = _ask(client, "b")
    await server.was_asked(2)
    server.answer("+1", "+2")
    assert list(await asyncio.gather(first, second)) == [b"1", b"2"]
    with pytest.raises(DataError):
        await refused


async def test_a_lost_connection_fails_what_is_under_way_and_the_next_command_connects(
    held: tuple[Held, OrderedClient],
) -> None:
    server, client = held
    asked = [_ask(client, name) for name in "ab"]
    await server.was_asked(2)
    server.drop()
    assert await _errors_of(*asked) == [LostError, LostError]
    again = await _under_way(server, client, "c")
    server.answer("+3")
    assert (await again, server.connections) == (b"3", 2)


async def test_a_connection_that_is_lost_while_a_command_is_sent_fails_it_as_lost(
    held: tuple[Held, OrderedClient],
) -> None:
    server, client = held
    first = await _under_way(server, client, "a")
    second = _ask(client, "b")
    _line_of(client)._transport.abort()
    assert await _errors_of(first, second) == [LostError, LostError]


async def test_no_command_overtakes_those_under_way_over_another_connection(
    held: tuple[Held, OrderedClient],
) -> None:
    server, client = held
    first = await _under_way(server, client, "a")
    connection = _line_of(client)._connection
    assert isinstance(connection, TcpConnection)
    connection._locator.invalidate(connection._generation, LostError("for the test"), ("", 0))
    assert await _errors_of(first, _ask(client, "b")) == [LostError, LostError]
    again = await _under_way(server, client, "c")
    server.answer("+3")
    assert (await again, server.asked, server.connections) == (b"3", ["a", "c"], 2)


async def test_an_answer_that_is_late_loses_the_connection(
    held: tuple[Held, OrderedClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, client = held
    first = await _under_way(server, client, "a")
    connection = _line_of(client)._connection
    monkeypatch.setattr(connection, "socket_timeout", 0.01)
    server.answer("+1")
    assert await first == b"1"
    _line_of(client)._watch()  # not only once the earlier time-out is over
    asked = [_ask(client, name) for name in "bc"]
    assert await _errors_of(*asked) == [LateError, LateError]
    monkeypatch.undo()  # the pool connects it again
    again = _ask(client, "d")
    await wait_until(lambda: server.asked[-1] == "d", "another connection is made")
    server.answer("+4")
    assert (await again, server.connections) == (b"4", 2)


@pytest.mark.parametrize("reply", ["+2", "nonsense"])
async def test_a_reply_to_nothing_or_that_is_none_loses_the_connection(
    held: tuple[Held, OrderedClient], reply: str
) -> None:
    server, client = held
    first = await _under_way(server, client, "a")
    server.answer("+1", reply)
    assert await first == b"1"
    line = _line_of(client)
    await wait_until(lambda: not line.is_usable, "the connection is lost")
    again = await _under_way(server, client, "b")
    server.answer("+2")
    assert (await again, server.connections) == (b"2", 2)


async def test_a_command_that_is_called_as_others_learn_of_their_loss_is_lost_too(
    held: tuple[Held, OrderedClient],
) -> None:
    server, client = held
    first = await _under_way(server, client, "a")
    called = asyncio.get_running_loop().create_future()
    _line_of(client)._waiting[0].add_done_callback(lambda _: called.set_result(_ask(client, "b")))
    server.drop()
    assert await _errors_of(first, await called) == [LostError, LostError]
    assert server.asked == ["a"]


async def test_a_command_that_waits_for_a_connection_fails_with_it(
    held: tuple[Held, OrderedClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, client = held
    connect_once = client._pool.get_connection

    async def refuse() -> None:
        monkeypatch.setattr(client._pool, "get_connection", connect_once)
        await asyncio.sleep(0)
        raise LostError("for the test")

    monkeypatch.setattr(client._pool, "get_connection", refuse)
    assert await _errors_of(_ask(client, "a"), _ask(client, "b")) == [LostError, LostError]
    again = await _under_way(server, client, "a")
    server.answer("+1")
    assert await again == b"1"


async def test_closing_fails_what_is_being_sent_and_nobody_else_gets_its_answer(
    held: tuple[Held, OrderedClient],
) -> None:
    server, client = held
    first = await _under_way(server, client, "a")
    server.answer("+1")
    await first
    sending = _ask(client, "b" * 20_000_000)  # more than a socket takes at once
    await asyncio.sleep(0)
    await client.aclose()
    with pytest.raises(LostError):
        await sending
    next_user: Any = Redis(connection_pool=client._pool)
    other = asyncio.create_task(next_user.echo("c"))
    await wait_until(lambda: server.asked == ["a", "c"], "the server is asked by the next user of the pool")
    server.answer("+3")
    assert await other == b"3"


async def test_closing_fails_what_is_under_way(held: tuple[Held, OrderedClient]) -> None:
    server, client = held
    asked = await _under_way(server, client, "a")
    await client.aclose()
    with pytest.raises(LostError, match="closed"):
        await asked


async def test_a_connection_that_the_server_has_ended_is_not_used() -> None:
    with EmbeddedValkey() as server:
        async with connect(server.url, "operator") as operator, _client(server.url) as ordered:
            first = await ordered.execute_command("CLIENT ID")
            await operator.execute_command("CLIENT KILL", "ID", first)

            async def lost() -> bool:
                return not ordered._line or not ordered._line.is_usable

            await wait_until(lost, "the connection has ended")
            assert await ordered.execute_command("CLIENT ID") > first


async def test_many_callers_get_their_own_answers() -> None:
    with EmbeddedValkey() as server:
        async with _client(server.url) as ordered:
            texts = [f"{number}" * (number % 200 + 1) for number in range(2_000)]
            found = await asyncio.gather(*(ordered.execute_command("ECHO", text) for text in texts))
            assert [reply.decode() for reply in found] == texts
