"""How much of the streams a worker holds in memory, in bytes."""

from __future__ import annotations

from typing import Final

BUDGET: Final = 64 * 1024 * 1024
"""The most that a worker has in flight, of all its streams."""

_READ: Final = BUDGET // 8  # of one read: a reply takes its size several times over while it is parsed
_FIRST: Final = 512 * 1024


class ByteBudget:
    """The bytes of all entries that a worker has in flight. `room` is what is left of `most`."""

    def __init__(self, most: int = BUDGET) -> None:
        self.room = most

    def take(self, size: int) -> None:
        """Entries of `size` bytes are in flight."""
        self.room -= size

    def give_back(self, size: int) -> None:
        """Entries of `size` bytes are no longer in flight."""
        self.room += size


class ReadSize:
    """How many entries the next read of a stream may take, by their bytes.

    XREADGROUP counts entries, not bytes, so the size of the next entries is a guess: as large as the largest
    one of the last read, or half of the last guess if that is more. The first guess is high, so that a worker begins
    with a small read.
    """

    def __init__(self, budget: ByteBudget) -> None:
        self._budget = budget
        self._guess = _FIRST

    @property
    def value(self) -> int:
        """Entries for which the budget has room; 0 if it has none."""
        return max(0, min(_READ, self._budget.room)) // self._guess

    def lost(self) -> None:
        """A read failed. The next one takes one entry: a server may close a connection when a reply is too large."""
        self._guess = _READ

    def read(self, largest: int) -> None:
        """The largest entry of a read has `largest` bytes."""
        self._guess = max(largest, self._guess // 2, 1)
