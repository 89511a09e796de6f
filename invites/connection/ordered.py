"""Sends commands over one connection in their order, without waiting for the answers of those before.

A client of redis-py waits for the answer before it sends the next command over a connection, and what it sends over
another one overtakes. Here the server has the next command at hand while it executes one.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import TYPE_CHECKING, Any

from redis.exceptions import ConnectionError as LostError
from redis.exceptions import RedisError, ResponseError

if TYPE_CHECKING:
    from redis.asyncio import ConnectionPool, Redis
    from redis.typing import EncodableT

    from invites.connection.connections import TcpConnection, UnixConnection


class OrderedClient:
    """Executes the commands of all callers in the order of their calls, over one connection of the client's pool.

    Whatever loses the connection fails all commands under way: the server may have executed them. Cancelling a caller
    takes no command back. Answers are as the server gives them.
    """

    def __init__(self, client: Redis) -> None:
        """Prepare. It connects at its first command."""
        self._pool: ConnectionPool = client.connection_pool
        self._sending = asyncio.Lock()
        self._line: _Line | None = None

    async def execute_command(self, *command: EncodableT) -> Any:  # noqa: ANN401 - any reply
        """Send one command and wait for its answer. Raises what redis-py raises."""
        async with self._sending:
            line = self._line
            if line is None or not line.is_usable:
                line = await self._connect()
            answer = await line.send(command)
        return await answer

    async def aclose(self) -> None:
        """Fail what is under way, and give the connection back."""
        line, self._line = self._line, None
        if line is not None:
            await line.aclose()

    async def _connect(self) -> _Line:
        line, self._line = self._line, None
        if line is not None:
            await line.leave()
        self._line = _Line(self._pool, await self._pool.get_connection())
        return self._line


class _Line:
    """One connection, and those who wait for its answers."""

    def __init__(self, pool: ConnectionPool, connection: TcpConnection | UnixConnection) -> None:
        self._pool = pool
        self._connection = connection
        self._waiting: deque[asyncio.Future[Any]] = deque()
        self._reading: asyncio.Task[None] | None = None
        self._is_left = False
        self._is_lost = False

    @property
    def is_usable(self) -> bool:
        """Whether a command may be sent over it."""
        return not self._is_lost and self._connection.is_usable

    async def send(self, command: tuple[EncodableT, ...]) -> asyncio.Future[Any]:
        """Send a command; the caller waits for its answer."""
        await self._connection.send_command(*command, check_health=False)
        if self._is_lost:
            raise LostError("The connection was lost while a command was sent.")
        answer = asyncio.get_running_loop().create_future()
        self._waiting.append(answer)
        if self._reading is None:
            self._reading = asyncio.create_task(self._read(), name="answers of the server")
        return answer

    async def leave(self) -> None:
        """Send nothing more. What is under way is answered."""
        self._is_left = True
        if self._reading is None:
            await self._give_back()

    async def aclose(self) -> None:
        """Fail what is under way, and give the connection back."""
        self._is_left = True
        if self._reading is None:
            await self._give_back()
        else:
            self._reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reading

    async def _read(self) -> None:
        """Read answers for as long as anybody waits."""
        try:
            while self._waiting:
                reply, error = await self._next_reply()
                answer = self._waiting.popleft()
                if answer.done():  # its caller was cancelled
                    continue
                if error is None:
                    answer.set_result(reply)
                else:
                    answer.set_exception(error)
        except BaseException as error:
            self._is_lost = True
            self._fail(error)
            await self._connection.disconnect(nowait=True)
            if not isinstance(error, (RedisError, OSError)):
                raise
        finally:
            self._reading = None
            if self._is_left:
                await self._give_back()

    async def _next_reply(self) -> tuple[Any, ResponseError | None]:
        try:
            return await self._connection.read_response(), None
        except ResponseError as error:
            return None, error

    def _fail(self, error: BaseException) -> None:
        why = error if isinstance(error, Exception) else LostError("The connection was closed.")
        while self._waiting:
            answer = self._waiting.popleft()
            if not answer.done():
                answer.set_exception(why)

    async def _give_back(self) -> None:
        await self._pool.release(self._connection)
