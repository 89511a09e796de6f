"""Whether this worker works: reads must have *completed* lately, not merely be under way."""

from __future__ import annotations

import time
from typing import Final

_WITHIN_S: Final = 6.0  # three times as long as a read may wait for entries
_NOTHING_YET: Final = "no read from Redis has completed yet"


class Readiness:
    """What `/readyz` answers. Written by the read loops, read by the HTTP server.

    A worker that reads only some of its streams is not ready. `trouble` says what keeps the worker as a whole from
    working; "" when nothing does.
    """

    def __init__(self, within_s: float = _WITHIN_S) -> None:
        self.trouble = ""
        self._within_s = within_s
        self._completed: dict[str, float] = {}
        self._troubles: dict[str, str] = {}

    def expect(self, stream: str) -> None:
        """A stream has to be read from now on."""
        self._troubles[stream] = _NOTHING_YET

    def read_completed(self, stream: str) -> None:
        """A read from a stream came back, with entries or without."""
        self._completed[stream] = time.monotonic()
        self._troubles.pop(stream, None)

    def lost(self, stream: str, reason: str) -> None:
        """Reading a stream has failed; `reason` says why, without secrets."""
        self._troubles[stream] = reason

    def state(self, now: float | None = None) -> tuple[bool, str]:
        """Whether the worker is ready `now` (s, monotonic; default: now), and if not, why."""
        trouble = self.trouble or next(iter(self._troubles.values()), "")
        if trouble or not self._completed:
            return False, trouble or _NOTHING_YET
        age = (time.monotonic() if now is None else now) - min(self._completed.values())
        if age > self._within_s:
            return False, f"no read from Redis has completed for {age:.1f} s"
        return True, ""
