"""One connection of the benchmark to its server: packed commands out, replies in, and nothing in between."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import hiredis
from redis.connection import AbstractConnection


class Connection:
    """A connection that one thread uses. It is synchronous, to take as little as possible of the workers' processor."""

    def __init__(self, connection: AbstractConnection) -> None:
        self._connection = connection
        self._owed = 0

    def command(self, *arguments: bytes | str | int) -> Any:  # noqa: ANN401 - replies are of any type
        """Send one command and return its reply."""
        return self.send([pack(*arguments)])[0]

    def send(self, packed: Iterable[bytes], in_flight: int = 2) -> list[Any]:
        """Send packed commands and return their replies in order.

        So many are `in_flight` at once; two are enough to let the server never wait for the next one.
        """
        replies: list[Any] = []
        for command in packed:
            self.post(command)
            if self._owed == in_flight:
                replies += self.collect(1)
        return replies + self.collect()

    def post(self, packed: bytes) -> None:
        """Send a packed command and do not wait for its reply, which is to be collected later."""
        self._connection.send_packed_command([packed], check_health=False)
        self._owed += 1

    def collect(self, most: int | None = None) -> list[Any]:
        """Wait for the replies to what was posted, the first so many or all.

        Raises the first that is an error; the others are lost then, and the next command takes a new connection.
        """
        count = self._owed if most is None else most
        try:
            replies = [self._connection.read_response() for _ in range(count)]
        except BaseException:
            self._owed = 0
            self._connection.disconnect()
            raise
        self._owed -= count
        return replies

    def collect_arrived(self) -> None:
        """Take the replies that are there, without waiting; raises the first that is an error."""
        while self._owed and self._connection.can_read(timeout=0):
            self.collect(1)


def pack(*arguments: bytes | str | int) -> bytes:
    """Pack one command as it goes over the wire."""
    packed: bytes = hiredis.pack_command(arguments)  # type: ignore[arg-type] # its stub knows one argument only
    return packed
