"""How many entries a reader asks for at a time."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class Page:
    """At most `most` entries, and one after a failure: a server may close a connection when a reply is too large."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._size = most

    @contextlib.contextmanager
    def sized(self) -> Iterator[int]:
        """How many entries to ask for. The block asks."""
        try:
            yield self._size
        except Exception:
            self._size = 1
            raise
        self._size = min(self._most, 2 * self._size)
