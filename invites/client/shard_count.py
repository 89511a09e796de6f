"""Compares a client's number of shards with the server's.

A publisher with more shards than the workers writes where nobody reads; a reader with fewer misses calls.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import NoPermissionError, RedisError

from invites.store.layout import LayoutError, read, unreadable

if TYPE_CHECKING:
    from collections.abc import Callable

    from invites.keys import Keys
    from invites.store.layout import Layout

EVERY_S: Final = 5.0
"""`invites reshard` changes the number while clients run."""

_AGAIN_S: Final = 0.5
DENIED_S: Final = 60.0
"""The server keeps a log of denied commands."""

_WAIT_S: Final = 1.0  # in a cluster the number may be on another server than the event

_log = logging.getLogger(__name__)


class ShardCount:
    """The server's number of shards, as last read. The owner must call `aclose`."""

    def __init__(self, client: Any, first: Keys) -> None:  # noqa: ANN401 - see Clients
        """`first` names the keys of shard 0, and knows the client's number."""
        self._client = client
        self._first = first
        self._found: str | None = None
        self._is_known = False
        self._was_denied = False
        self._looking: asyncio.Task[None] | None = None
        self._next_look = 0.0
        self._wait_until = 0.0

    async def look(self) -> None:
        """Read the number. Raises redis exceptions."""
        wait_s = EVERY_S
        try:
            found = await self._client.get(self._first.layout)
        except NoPermissionError:
            wait_s = DENIED_S
            if not self._was_denied:
                _log.warning("%s", unreadable(self._first))
            self._was_denied = True
        else:
            self._found = None if found is None else found.decode(errors="replace")
        self._is_known = True
        self._next_look = time.monotonic() + wait_s

    async def check(self, suits: Callable[[Layout, int], bool]) -> None:
        """Raise LayoutError if the client's number does not suit the server's.

        Reads the number at most every 5 s, and only waits for it (1 s at most) if none is known or the known one does
        not suit. A number that cannot be read, or that no worker has written yet, suits.
        """
        looking = self._looking
        now = time.monotonic()
        if (looking is None or looking.done()) and now >= self._next_look:
            self._wait_until = now + _WAIT_S
            looking = self._looking = asyncio.create_task(self._try_to_look(), name="reading the shard count")
        if looking is not None and (not self._is_known or self._wrong(suits)):
            await asyncio.wait([looking], timeout=max(0.0, self._wait_until - now))
        wrong = self._wrong(suits)
        if wrong is not None:
            raise wrong

    async def aclose(self) -> None:
        """End a look that is under way."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)

    async def _try_to_look(self) -> None:
        try:
            await self.look()
        except (RedisError, OSError):  # events and notifications meet the same error, and report it
            self._next_look = time.monotonic() + _AGAIN_S

    def _wrong(self, suits: Callable[[Layout, int], bool]) -> LayoutError | None:
        if self._found is None:
            return None
        layout = read(self._found)
        if layout is not None and suits(layout, self._first.shards):
            return None
        return LayoutError(self._found, self._first.shards, "the client's shards")
