"""Logs a Redis outage once for all loops: when it begins, every 30 s, and when it is over."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from workers.telemetry.metrics import Metrics

_REMIND_S: Final = 30.0

_log = logging.getLogger(__name__)


class Outage:
    """The loops of this worker that Redis errors keep from working."""

    def __init__(self, metrics: Metrics, remind_s: float = _REMIND_S) -> None:
        self._metrics = metrics
        self._remind_s = remind_s
        self._troubled: set[str] = set()
        self._since = 0.0
        self._told = 0.0

    def met(self, role: str, error: BaseException) -> None:
        """The loop `role` got `error` and will retry."""
        self._metrics.redis_error(role)
        now = time.monotonic()
        first = not self._troubled
        self._troubled.add(role)
        if first:
            self._since = self._told = now
            _log.warning("Redis cannot be used (%s): %s; waiting for it.", role, _words(error))
        elif now - self._told >= self._remind_s:
            self._told = now
            away = now - self._since
            _log.warning("Redis still cannot be used after %d s (%s): %s.", away, role, _words(error))

    def over(self, role: str) -> None:
        """The loop `role` works again."""
        if role not in self._troubled:
            return
        self._troubled.discard(role)
        if not self._troubled:
            self._metrics.reconnected()
            _log.warning("Redis can be used again, after %.1f s.", time.monotonic() - self._since)


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".rstrip(".: ")
