"""Sends commands over one connection in their order, without waiting for the answers of those before.

A client of redis-py waits for the answer before it sends the next command over a connection, and a command over another
connection may overtake. Here the server already has the next command while it executes one.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from redis.exceptions import ConnectionError as LostError
from redis.exceptions import InvalidResponse, ResponseError
from redis.exceptions import TimeoutError as LateError

from invites.connection.connections import pack

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis.asyncio import ConnectionPool, Redis
    from redis.typing import EncodableT

    from invites.connection.connections import TcpConnection, UnixConnection


class OrderedClient:
    """Executes the commands of all callers in the order of their calls, over one connection of the client's pool.

    A lost connection, or a failure to connect, fails all commands that were called until then: the server may
    have executed them. So no command overtakes one that is lost. Cancelling a caller does not take back a command that
    has been sent. Answers are raw.
    """

    def __init__(self, client: Redis) -> None:
        """Prepare. It connects at its first command."""
        self._pool: ConnectionPool = client.connection_pool
        self._called: deque[tuple[bytes, asyncio.Future[Any]]] = deque()
        self._connecting: asyncio.Task[None] | None = None
        self._line: _Line | None = None
        self._unlearned = 0
        self._answered_at = 0.0

    async def execute_command(self, *command: EncodableT) -> Any:  # noqa: ANN401 - any reply
        """Send one command and wait for its answer. Raises what redis-py raises."""
        return await self.call(*command)

    def call(self, *command: EncodableT) -> asyncio.Future[Any]:
        """Send one command. The future has its answer, or what redis-py raises."""
        packed = pack(*command)
        answer = asyncio.get_running_loop().create_future()
        line = self._line
        if self._unlearned:
            answer.set_exception(LostError("The connection was lost with the commands before this one."))
        elif line is not None and line.is_usable and self._connecting is None:
            line.send(packed, answer)
        else:
            self._called.append((packed, answer))
            if self._connecting is None:
                self._connecting = asyncio.create_task(self._connect(), name="connecting to the server")
        return answer

    def took(self, since: float) -> float:
        """How long (s) the server has worked for a command, called at `since` (`perf_counter`) and just answered.

        Until it had answered the command before, it worked for others.
        """
        now = time.perf_counter()
        took = now - max(since, self._answered_at)
        self._answered_at = now
        return took

    async def aclose(self) -> None:
        """Fail all called commands, and give the connection back."""
        connecting, self._connecting = self._connecting, None
        if connecting is not None:
            connecting.cancel()
            await asyncio.wait([connecting])
        self._fail(LostError("The connection was closed."))
        await self._leave()

    async def _connect(self) -> None:
        """Reconnect, and send the commands that were called meanwhile, in order."""
        try:
            await self._leave()
            if not self._called:  # the former connection was lost with all of it
                return
            self._line = line = _Line(self._pool, await self._pool.get_connection(), self._fail)
            while self._called:
                command, answer = self._called.popleft()
                if not answer.done():
                    line.send(command, answer)
        except Exception as error:  # noqa: BLE001 - the callers raise it
            self._fail(error)
        finally:
            self._connecting = None

    async def _leave(self) -> None:
        line, self._line = self._line, None
        if line is not None:
            await line.aclose()

    def _fail(self, why: Exception) -> None:
        """Fail the commands that have been called, and those that are called before the callers know."""
        for _, answer in self._called:
            if not answer.done():
                answer.set_exception(why)
        self._called.clear()
        # They know in the next round of the loop. Work that others have begun by then calls in the round after that.
        self._unlearned += 1
        loop = asyncio.get_running_loop()
        loop.call_soon(loop.call_soon, self._learn)

    def _learn(self) -> None:
        self._unlearned -= 1


class _Line(asyncio.Protocol):
    """One connection, and the callers that wait for its answers. Calls `failed` after it has failed them.

    It takes the connection over from redis-py, so that a command leaves as it is called and an answer is passed on as
    it arrives: neither waits for a task.
    """

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
        self._is_over = False
        self._loop = asyncio.get_running_loop()
        self._answered_at = 0.0
        self._watching: asyncio.TimerHandle | None = None
        self._transport, self._replies = connection.hand_over(self)

    @property
    def is_usable(self) -> bool:
        """Whether a command may be sent over it."""
        return not self._is_over and self._connection.is_current

    def send(self, command: bytes, answer: asyncio.Future[Any]) -> None:
        """Send a command whose caller waits for the answer."""
        self._waiting.append(answer)
        self._transport.write(command)
        if len(self._waiting) == 1:
            self._answered_at = self._loop.time()
            if self._watching is None:
                self._watch()

    def data_received(self, data: bytes) -> None:
        """Pass answers on."""
        self._replies.feed(data)
        try:
            while not self._is_over and (reply := self._replies.gets()) is not False:
                self._pass_on(reply)
        except InvalidResponse as error:
            self._lose(error)

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail what is under way."""
        if not self._is_over:
            self._lose(LostError(str(exc) if exc else "Connection closed by server."))

    async def aclose(self) -> None:
        """Fail what is under way, and give the connection back."""
        self._end(LostError("The connection was closed."))
        await self._connection.disconnect(nowait=True)
        await self._pool.release(self._connection)

    def _pass_on(self, reply: Any) -> None:  # noqa: ANN401 - any reply
        if not self._waiting:
            self._lose(InvalidResponse(f"The server answers what nobody has asked: {reply!r}"))
            return
        if isinstance(reply, Exception) and not isinstance(reply, ResponseError):
            self._lose(reply)  # LOADING, for example
            return
        self._answered_at = self._loop.time()
        answer = self._waiting.popleft()
        if isinstance(reply, ResponseError):
            self._connection.heard(reply)
            if not answer.done():
                answer.set_exception(reply)
        elif not answer.done():  # otherwise its caller was cancelled
            answer.set_result(reply)

    def _watch(self) -> None:
        """While anybody waits, check periodically whether the next answer is late."""
        self._watching = None
        if self._waiting:
            left = self._answered_at + self._connection.reply_s - self._loop.time()
            if left > 0:
                self._watching = self._loop.call_later(left, self._watch)
            else:
                self._lose(LateError("Timeout reading from the server"))

    def _lose(self, why: Exception) -> None:
        self._connection.heard(why)
        self._end(why)

    def _end(self, why: Exception) -> None:
        self._is_over = True
        self._transport.abort()
        if self._watching is not None:
            self._watching.cancel()
        under_way = list(self._waiting)
        self._waiting.clear()
        for answer in under_way:
            if not answer.done():
                answer.set_exception(why)
        if under_way:
            self._failed(why)
