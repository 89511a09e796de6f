"""Logs once for all loops that the server is out of memory, every 30 s, and when there is room again."""

from __future__ import annotations

import logging
import time
from typing import Final

_REMIND_S: Final = 30.0

_log = logging.getLogger(__name__)


class Memory:
    """The server's memory as commits see it. `full`: it has refused an event, and accepted none since."""

    def __init__(self) -> None:
        self.full = False
        self._remind_at = 0.0

    def refused(self) -> None:
        """The server has refused an event that makes state grow."""
        now = time.monotonic()
        if now >= self._remind_at:
            self._remind_at = now + _REMIND_S
            self.full = True
            _log.error(
                "Redis is out of memory: new invites and registrations wait until there is room; events that end "
                "calls are still processed. Raise maxmemory."
            )

    def took(self) -> None:
        """The server has accepted such an event."""
        if self.full:
            self.full = False
            _log.warning("Redis has room again: new invites and registrations are processed.")
