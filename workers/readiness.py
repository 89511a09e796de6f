"""Whether this worker works: a read from the stream must have *completed* lately, not merely be under way."""

from __future__ import annotations

import time
from typing import Final

_WITHIN_S: Final = 6.0  # three times as long as a read may wait for entries


class Readiness:
    """What `/readyz` answers. Written by the read loop, read by the HTTP server."""

    def __init__(self, within_s: float = _WITHIN_S) -> None:
        self._within_s = within_s
        self._completed: float | None = None
        self._trouble = "no read from Redis has completed yet"

    def read_completed(self) -> None:
        """A read from the events stream came back, with entries or without."""
        self._completed = time.monotonic()
        self._trouble = ""

    def lost(self, reason: str) -> None:
        """Reading has failed; `reason` says why, without secrets."""
        self._trouble = reason

    def state(self, now: float | None = None) -> tuple[bool, str]:
        """Whether the worker is ready `now` (s, monotonic; default: now), and if not, why."""
        if self._completed is None or self._trouble:
            return False, self._trouble
        age = (time.monotonic() if now is None else now) - self._completed
        if age > self._within_s:
            return False, f"no read from Redis has completed for {age:.1f} s"
        return True, ""
