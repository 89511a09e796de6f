"""The page server's stream of server-sent events for browsers."""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_KEPT: Final = 500  # entries for a page that opens later
_MOST_WAITING: Final = 2_000
_QUIET_S: Final = 15.0  # a comment now and then shows that a connection lives


class Feed:
    """Entries of the timeline, which are kept for a while, and states, of which only the latest counts."""

    def __init__(self) -> None:
        self._entries: deque[tuple[int, bytes]] = deque(maxlen=_KEPT)
        self._states: dict[str, bytes] = {}
        self._readers: set[asyncio.Queue[bytes | None]] = set()
        self._number = 0
        self._has_ended = False
        self.set("run", secrets.token_hex(4))  # a page of an earlier run must be loaded again

    def add(self, entry: object) -> None:
        """Add an entry to the timeline."""
        self._number += 1
        message = _message("entry", entry, self._number)
        self._entries.append((self._number, message))
        self._tell(message)

    def set(self, name: str, state: object) -> None:
        """Replace a state."""
        self._states[name] = _message(name, state)
        self._tell(self._states[name])

    def end(self) -> None:
        """End all streams."""
        self._has_ended = True
        for queue in self._readers:
            queue.put_nowait(None)

    async def listen(self, after: int = 0) -> AsyncIterator[bytes]:
        """Yield the entries after number `after`, all states, `ready`, and everything that comes after that."""
        queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._readers.add(queue)
        try:
            yield b"".join(
                (
                    *(message for number, message in self._entries if number > after),
                    *self._states.values(),
                    _message("ready", None),
                )
            )
            while not self._has_ended:
                try:
                    async with asyncio.timeout(_QUIET_S):
                        message = await queue.get()
                except TimeoutError:
                    message = b": still here\n\n"
                if message is None:
                    return
                yield message
        finally:
            self._readers.discard(queue)

    def _tell(self, message: bytes) -> None:
        for queue in list(self._readers):
            if queue.qsize() < _MOST_WAITING:
                queue.put_nowait(message)
            else:  # A browser that reads too slowly is cut off. It reconnects and continues where it was.
                self._readers.discard(queue)
                queue.put_nowait(None)


def _message(name: str, data: object, number: int | None = None) -> bytes:
    """A server-sent event. JSON has no line breaks."""
    identity = b"" if number is None else b"id: %d\n" % number
    return b"%sevent: %s\ndata: %s\n\n" % (identity, name.encode(), msgspec.json.encode(data))
