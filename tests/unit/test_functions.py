"""How the library comes to a server, when the server answers it in an unusual way."""

from __future__ import annotations

from typing import Any, cast

import pytest
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from invites.store.functions import Functions
from invites.store.scripts import Scripts


class Server:
    """Answers commands in turn: raises exceptions, returns other replies. `asked` holds the names of the commands."""

    def __init__(self, *replies: Any) -> None:
        self.asked: list[str] = []
        self._replies = list(replies)

    async def execute_command(self, name: str, *_: Any) -> Any:
        self.asked.append(name)
        reply = self._replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        return reply


NOT_THERE = ResponseError("Function not found")


async def _call(server: Server) -> Any:
    scripts = Scripts()
    return await Functions(cast("Redis", server), scripts).call(scripts.trim, [], [])


async def test_a_library_that_another_worker_loads_first_is_used() -> None:
    server = Server(NOT_THERE, ResponseError("Library 'invites' already exists"), b"done")
    assert await _call(server) == b"done"
    assert server.asked == ["FCALL", "FUNCTION LOAD", "FCALL"]


async def test_a_library_that_the_server_refuses_raises_its_answer() -> None:
    server = Server(NOT_THERE, ResponseError("Error compiling function"))
    with pytest.raises(ResponseError, match="Error compiling"):
        await _call(server)
    assert server.asked == ["FCALL", "FUNCTION LOAD"]
