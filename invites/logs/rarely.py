"""Warnings that an outage would repeat for each event or device."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import logging

_EVERY_S: Final = 10.0


class Rarely:
    """Logs each kind of warning every 10 s at most, and then says how many it has left out."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._left_out: dict[str, int] = {}
        self._next: dict[str, float] = {}

    def warning(self, text: str, *words: object) -> None:
        """Log a warning. `text` is its kind, and has a place for each of the `words`."""
        now = time.monotonic()
        if now < self._next.get(text, 0.0):
            self._left_out[text] += 1
            return
        left_out = self._left_out.get(text, 0)
        self._next[text], self._left_out[text] = now + _EVERY_S, 0
        self._log.warning(
            text + "%s", *words, f" ({left_out} more since the last such line)" if left_out else ""
        )
