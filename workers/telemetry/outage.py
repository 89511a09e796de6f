"""Logs a Redis outage once for all loops: when it begins, every 30 s, and when it is over."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

from redis.exceptions import NoPermissionError

if TYPE_CHECKING:
    from workers.telemetry.metrics import Metrics
    from workers.telemetry.readiness import Readiness

_REMIND_S: Final = 30.0

_log = logging.getLogger(__name__)


class Outage:
    """The loops of this worker that Redis errors keep from working.

    A worker that the ACL denies a command is not ready, although it may still read.
    """

    def __init__(
        self, metrics: Metrics, readiness: Readiness | None = None, remind_s: float = _REMIND_S
    ) -> None:
        self._metrics = metrics
        self._readiness = readiness
        self._remind_s = remind_s
        self._troubled: set[tuple[str, str]] = set()
        self._since = 0.0
        self._told = 0.0

    def met(self, role: str, error: BaseException, place: str = "") -> None:
        """The loop `role` got `error` and will retry. `place` tells loops of one role apart, such as " of shard 3"."""
        self._metrics.redis_error(role)
        denied = isinstance(error, NoPermissionError)
        if denied and self._readiness is not None:
            self._readiness.lost(role + place, str(error))
        now = time.monotonic()
        first = not self._troubled
        self._troubled.add((role, place))
        if first:
            self._since = self._told = now
            level = logging.ERROR if denied else logging.WARNING
            _log.log(level, "Redis cannot be used (%s%s): %s; waiting for it.", role, place, _words(error))
        elif now - self._told >= self._remind_s:
            self._told = now
            away = now - self._since
            _log.warning(
                "Redis still cannot be used after %d s (%s%s): %s.", away, role, place, _words(error)
            )

    def over(self, role: str, place: str = "") -> None:
        """The loop `role` works again."""
        if (role, place) not in self._troubled:
            return
        self._troubled.discard((role, place))
        if self._readiness is not None:
            self._readiness.regained(role + place)
        if not self._troubled:
            self._metrics.reconnected()
            _log.warning("Redis can be used again, after %.1f s.", time.monotonic() - self._since)


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".rstrip(".: ")
