"""How much a connection may send."""

from __future__ import annotations

import time


class Allowance:
    """A token bucket: `rate` a second, and twice as many at once."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._left = float(2 * rate)
        self._since = time.monotonic()

    def take(self, count: int = 1) -> bool:
        """Whether so many more may come now."""
        now = time.monotonic()
        self._left = min(2.0 * self._rate, self._left + (now - self._since) * self._rate)
        self._since = now
        if self._left < count:
            return False
        self._left -= count
        return True
