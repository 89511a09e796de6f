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

from invites.connection.connections import pack

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis.asyncio import ConnectionPool, Redis
    from redis.typing import EncodableT

    from invites.connection.connections import TcpConnection, UnixConnection


class OrderedClient:
    """Executes the commands of all callers in the order of their calls, over one connection of the client's pool.

    Whatever loses the connection, or fails to connect, fails all commands that were called until then: the server may
    have executed them. So no command overtakes one that is lost. Cancelling a caller takes back no command that has
    been sent. Answers are as the server gives them.
    """

    def __init__(self, client: Redis) -> None:
        """Prepare. It connects at its first command."""
        self._pool: ConnectionPool = client.connection_pool
        self._called: deque[tuple[list[bytes], asyncio.Future[Any]]] = deque()
        self._sending: asyncio.Task[None] | None = None
        self._line: _Line | None = None
        self._unlearned = 0

    async def execute_command(self, *command: EncodableT) -> Any:  # noqa: ANN401 - any reply
        """Send one command and wait for its answer. Raises what redis-py raises."""
        packed = pack(*command)
        if self._unlearned:
            raise LostError("The connection was lost with the commands before this one.")
        answer = asyncio.get_running_loop().create_future()
        self._called.append((packed, answer))
        if self._sending is None:
            self._sending = asyncio.create_task(self._send(), name="commands to the server")
        return await answer

    async def aclose(self) -> None:
        """Fail what has been called, and give the connection back."""
        sending, self._sending = self._sending, None
        if sending is not None:
            sending.cancel()
            await asyncio.wait([sending])
        self._fail(LostError("The connection was closed."))
        await self._leave()

    async def _send(self) -> None:
        """Send what has been called, in its order."""
        try:
            while self._called:
                line = await self._connected()
                if self._called:  # otherwise the former connection was lost with all of it
                    command, answer = self._called[0]
                    if not answer.done():
                        await line.send(command, answer)
                    self._called.popleft()
        except Exception as error:  # noqa: BLE001 - the callers raise it
            self._fail(error)
        finally:
            self._sending = None

    async def _connected(self) -> _Line:
        if self._line is not None and not self._line.is_usable:
            await self._leave()
        if self._line is None:
            self._line = _Line(self._pool, await self._pool.get_connection(), self._fail)
        return self._line

    async def _leave(self) -> None:
        line, self._line = self._line, None
        if line is not None:
            await line.aclose()

    def _fail(self, why: Exception) -> None:
        """Fail what has been called, and what is called before the callers have learned it."""
        for _, answer in self._called:
            if not answer.done():
                answer.set_exception(why)
        self._called.clear()
        # They learn it in the next round of the loop. What others have begun by then is called in the one after that.
        self._unlearned += 1
        loop = asyncio.get_running_loop()
        loop.call_soon(loop.call_soon, self._learn)

    def _learn(self) -> None:
        self._unlearned -= 1


class _Line:
    """One connection, and those who wait for its answers. Calls `failed` when it has failed them."""

    def __init__(
        self,
        pool: ConnectionPool,
        connection: TcpConnection | UnixConnection,
        failed: Callable[[Exception], None],
    ) -> None:
        self._pool = pool
        self._connection = connection
        self._failed = failed
        self._waiting: deque[asyncio.Future[Any]] = deque()
        self._reading: asyncio.Task[None] | None = None
        self._is_over = False

    @property
    def is_usable(self) -> bool:
        """Whether a command may be sent over it."""
        return not self._is_over and self._connection.is_usable

    async def send(self, command: list[bytes], answer: asyncio.Future[Any]) -> None:
        """Send a command, whose caller waits for the answer."""
        try:
            await self._connection.send_packed_command(command, check_health=False)
        except Exception:
            # Reading may have ended the connection: then sending fails in any way.
            if not self._is_over:
                raise
        if self._is_over:
            raise LostError("The connection was lost while a command was sent.")
        self._waiting.append(answer)
        if self._reading is None:
            self._reading = asyncio.create_task(self._read(), name="answers of the server")

    async def aclose(self) -> None:
        """Fail what is under way, and give the connection back."""
        self._fail(LostError("The connection was closed."))
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
            self._fail(error)
        finally:
            self._reading = None

    async def _next_reply(self) -> tuple[Any, ResponseError | None]:
        try:
            return await self._connection.read_response(), None
        except ResponseError as error:
            return None, error

    def _fail(self, why: Exception) -> None:
        self._is_over = True
        under_way = list(self._waiting)
        self._waiting.clear()
        for answer in under_way:
            if not answer.done():
                answer.set_exception(why)
        if under_way:
            self._failed(why)
