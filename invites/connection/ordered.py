"""Sends commands over one connection in their order, without waiting for the answers of those before.

A client of redis-py waits for the answer before it sends the next command over a connection, and what it sends over
another one overtakes. Here the server has the next command at hand while it executes one.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

from redis.exceptions import ConnectionError as LostError
from redis.exceptions import ResponseError

if TYPE_CHECKING:
    from redis.asyncio import ConnectionPool, Redis
    from redis.typing import EncodableT

    from invites.connection.connections import TcpConnection, UnixConnection


class OrderedClient:
    """Executes the commands of all callers in the order of their calls, over one connection of the client's pool.

    Whatever loses the connection fails all commands that were called until then: the server may have executed them. So
    no command overtakes one that is lost. Cancelling a caller who waits for an answer takes no command back. Answers
    are as the server gives them.
    """

    def __init__(self, client: Redis) -> None:
        """Prepare. It connects at its first command."""
        self._pool: ConnectionPool = client.connection_pool
        self._sending = asyncio.Lock()
        self._line: _Line | None = None

    async def execute_command(self, *command: EncodableT) -> Any:  # noqa: ANN401 - any reply
        """Send one command and wait for its answer. Raises what redis-py raises."""
        before = None if self._line is None or self._line.is_over else self._line
        async with self._sending:
            line = self._line
            if line is None or not line.is_usable:
                line = await self._connect()
            if before is not None and before.is_lost:
                raise LostError("The connection was lost with the commands before this one.")
            answer = await line.send(command)
        return await answer

    async def aclose(self) -> None:
        """Fail what is under way, and give the connection back."""
        line, self._line = self._line, None
        if line is not None:
            await line.aclose()

    async def _connect(self) -> _Line:
        await self.aclose()
        self._line = _Line(self._pool, await self._pool.get_connection())
        return self._line


class _Line:
    """One connection, and those who wait for its answers. `is_lost`: commands over it get no answer."""

    def __init__(self, pool: ConnectionPool, connection: TcpConnection | UnixConnection) -> None:
        self.is_lost = False
        self._pool = pool
        self._connection = connection
        self._waiting: deque[asyncio.Future[Any]] = deque()
        self._reading: asyncio.Task[None] | None = None
        self._is_closed = False

    @property
    def is_usable(self) -> bool:
        """Whether a command may be sent over it."""
        return not self.is_lost and self._connection.is_usable

    @property
    def is_over(self) -> bool:
        """Whether it is lost, and its callers have learned it."""
        return self.is_lost and self._reading is None

    async def send(self, command: tuple[EncodableT, ...]) -> asyncio.Future[Any]:
        """Send a command; the caller waits for its answer."""
        try:
            await self._connection.send_command(*command, check_health=False)
        except Exception:
            # Another task may have disconnected: then sending fails in any way.
            if not (self.is_lost or self._is_closed):
                raise
        if self.is_lost or self._is_closed:
            raise LostError("The connection was lost while a command was sent.")
        answer = asyncio.get_running_loop().create_future()
        self._waiting.append(answer)
        if self._reading is None:
            self._reading = asyncio.create_task(self._read(), name="answers of the server")
        return answer

    async def aclose(self) -> None:
        """Fail what is under way, and give the connection back."""
        self._is_closed = True
        if self._waiting:
            self._lose(LostError("The connection was closed."))
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait([self._reading])
        await self._connection.disconnect(nowait=True)
        await self._pool.release(self._connection)

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
        except Exception as error:  # noqa: BLE001 - the callers raise it
            self._lose(error)
            # A caller learns it in the next round of the loop. What another has begun by then comes here in the one
            # after that, and must not be sent.
            for _ in range(2):
                await asyncio.sleep(0)
        finally:
            self._reading = None

    async def _next_reply(self) -> tuple[Any, ResponseError | None]:
        try:
            return await self._connection.read_response(), None
        except ResponseError as error:
            return None, error

    def _lose(self, why: Exception) -> None:
        self.is_lost = True
        while self._waiting:
            answer = self._waiting.popleft()
            if not answer.done():
                answer.set_exception(why)
