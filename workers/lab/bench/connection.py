"""The benchmark's connection to its server: sends packed commands and reads replies."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import hiredis
from redis.connection import AbstractConnection


class Connection:
    """A connection for one thread. It is synchronous because that leaves the most processor time to the workers."""

    def __init__(self, connection: AbstractConnection) -> None:
        self._connection = connection
        self._owed = 0

    def command(self, *arguments: bytes | str | int) -> Any:  # noqa: ANN401 - replies are of any type
        """Send one command and return its reply."""
        return self.send([pack(*arguments)])[0]

    def send(self, packed: Iterable[bytes], in_flight: int = 2) -> list[Any]:
        """Send packed commands and return their replies in order.

        Up to `in_flight` commands wait for their replies. With two, the server always has the next command.
        """
        replies: list[Any] = []
        for command in packed:
            self.post(command)
            if self._owed == in_flight:
                replies += self.collect(1)
        return replies + self.collect()

    def post(self, packed: bytes) -> None:
        """Send a packed command; `collect` reads its reply later."""
        self._connection.send_packed_command([packed], check_health=False)
        self._owed += 1

    def collect(self, most: int | None = None) -> list[Any]:
        """Wait for the first `most` replies to posted commands (None: all).

        Raises the first error among them. The other replies are lost then, and the next command reconnects.
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
        """Take the replies that have arrived, without waiting; raises the first error among them."""
        while self._owed and self._connection.can_read(timeout=0):
            self.collect(1)


def pack(*arguments: bytes | str | int) -> bytes:
    """Encode one command."""
    packed: bytes = hiredis.pack_command(arguments)  # type: ignore[arg-type] # its stub knows one argument only
    return packed
