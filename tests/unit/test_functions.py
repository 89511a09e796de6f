"""How the library gets to a server that answers in an unusual way."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from redis.exceptions import NoPermissionError, ResponseError

from invites.store.functions import Functions
from invites.store.scripts import Script, Scripts
from tests.support.waiting import wait_until


class Server:
    """Answers commands in turn: raises exceptions, returns other replies. `asked` holds the names of the commands."""

    def __init__(self, *replies: Any) -> None:
        self.asked: list[str] = []
        self.held = asyncio.Event()
        self.go_on = asyncio.Event()
        self._held = ""
        self._replies = list(replies)

    def hold(self, name: str) -> None:
        """Answer this command once `go_on` is set; `held` says that it is there."""
        self._held = name

    async def execute_command(self, name: str, *_: Any) -> Any:
        self.asked.append(name)
        reply = self._replies.pop(0)
        if name == self._held:
            self.held.set()
            await self.go_on.wait()
        if isinstance(reply, Exception):
            raise reply
        return reply


NOT_THERE = ResponseError("Function not found")


def _functions(server: Server) -> tuple[Functions, Script]:
    scripts = Scripts()
    return Functions(server, scripts), scripts.trim


async def _call(server: Server) -> Any:
    functions, trim = _functions(server)
    return await functions.call(trim, [], [])


async def test_a_library_that_another_worker_loads_first_is_used() -> None:
    server = Server(NOT_THERE, ResponseError("Library 'invites' already exists"), b"done")
    assert await _call(server) == b"done"
    assert server.asked == ["FCALL", "FUNCTION LOAD", "FCALL"]


async def test_a_library_that_the_server_refuses_raises_its_answer() -> None:
    server = Server(NOT_THERE, ResponseError("Error compiling function"))
    with pytest.raises(ResponseError, match="Error compiling"):
        await _call(server)
    assert server.asked == ["FCALL", "FUNCTION LOAD"]


async def test_no_call_overtakes_the_one_that_loads_the_library() -> None:
    server = Server(NOT_THERE, b"loaded", b"first", b"second")
    functions, trim = _functions(server)
    server.hold("FUNCTION LOAD")
    first = asyncio.create_task(functions.call(trim, [], []))
    await server.held.wait()
    second = asyncio.create_task(functions.call(trim, [], []))
    await asyncio.sleep(0)
    server.go_on.set()
    assert list(await asyncio.gather(first, second)) == [b"first", b"second"]
    assert server.asked == ["FCALL", "FUNCTION LOAD", "FCALL", "FCALL"]


class Line:
    """A server that executes commands at once, and answers in the same order on request."""

    def __init__(self) -> None:
        self.executed: list[str] = []
        self._is_loaded = False
        self._answers: list[tuple[asyncio.Future[Any], Any]] = []

    async def execute_command(self, name: str, *rest: Any) -> Any:
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._answers.append((answer, self._execute(name, *rest)))
        return await answer

    def answer(self) -> bool:
        """Give the oldest answer that waits; False if there is none."""
        if not self._answers:
            return False
        answer, reply = self._answers.pop(0)
        if isinstance(reply, Exception):
            answer.set_exception(reply)
        else:
            answer.set_result(reply)
        return True

    def _execute(self, name: str, *rest: Any) -> Any:
        if name == "FUNCTION LOAD":
            self._is_loaded = True
        elif not self._is_loaded:
            return NOT_THERE
        else:
            self.executed.append(rest[-1])
        return b"done"


async def test_no_call_overtakes_one_of_its_shard_while_another_shard_loads_the_library() -> None:
    line, scripts = Line(), Scripts()
    other, ours = Functions(line, scripts), Functions(line, scripts)
    calls = [asyncio.create_task(other.call(scripts.trim, [], ["other"]))]
    calls.append(asyncio.create_task(ours.call(scripts.trim, [], ["first"])))
    await asyncio.sleep(0)
    line.answer()  # the other one knows it, and loads
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    calls.append(asyncio.create_task(ours.call(scripts.trim, [], ["second"])))
    while not all(call.done() for call in calls):
        await asyncio.sleep(0)
        line.answer()
    assert line.executed.index("first") < line.executed.index("second")


async def test_two_calls_under_way_that_may_not_run_functions_are_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    denied = NoPermissionError("for the test")
    server = Server(denied, denied, b"first", b"second")
    functions, trim = _functions(server)
    server.hold("FCALL")
    calls = [asyncio.create_task(functions.call(trim, [], [])) for _ in range(2)]
    await wait_until(lambda: len(server.asked) == 2, "both are under way")
    server.go_on.set()
    assert sorted(await asyncio.gather(*calls)) == [b"first", b"second"]
    assert server.asked == ["FCALL", "FCALL", "EVALSHA", "EVALSHA"]
    assert len(caplog.records) == 1


async def test_a_library_that_is_deleted_as_soon_as_it_is_loaded_is_done_without() -> None:
    server = Server(NOT_THERE, b"loaded", NOT_THERE, b"done")
    assert await _call(server) == b"done"
    assert server.asked == ["FCALL", "FUNCTION LOAD", "FCALL", "EVALSHA"]
