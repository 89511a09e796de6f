"""Whether this worker is ready: its reads must have completed recently."""

from __future__ import annotations

import time
from typing import Final

_WITHIN_S: Final = 6.0  # three times as long as a read may wait for entries
_NOTHING_YET: Final = "no read from Redis has completed yet"


class Readiness:
    """The answer of `/readyz`. The read loops write it, the HTTP server reads it.

    A worker that reads only some of its streams is not ready. `trouble` is why the whole worker cannot work, or "".
    """

    def __init__(self, within_s: float = _WITHIN_S) -> None:
        self.trouble = ""
        self._within_s = within_s
        self._completed: dict[str, float] = {}
        self._troubles: dict[str, str] = {}

    def expect(self, stream: str) -> None:
        """The worker is going to read a stream."""
        self._troubles[stream] = _NOTHING_YET

    def read_completed(self, stream: str) -> None:
        """A read from a stream has completed, with or without entries."""
        self._completed[stream] = time.monotonic()
        self._troubles.pop(stream, None)

    def lost(self, role: str, reason: str) -> None:
        """Reading a stream, or another role, has failed. `reason` must not contain secrets."""
        self._troubles[role] = reason

    def regained(self, role: str) -> None:
        """What was `lost` works again."""
        self._troubles.pop(role, None)

    def state(self, now: float | None = None) -> tuple[bool, str]:
        """Whether the worker is ready at `now` (s, monotonic; default: the current time), and otherwise why not."""
        trouble = self.trouble or next(iter(self._troubles.values()), "")
        if trouble or not self._completed:
            return False, trouble or _NOTHING_YET
        age = (time.monotonic() if now is None else now) - min(self._completed.values())
        if age > self._within_s:
            return False, f"no read from Redis has completed for {age:.1f} s"
        return True, ""
