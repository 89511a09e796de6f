"""A circuit breaker: whoever has not answered several times in a row is not waited for."""

from __future__ import annotations

import enum
from collections.abc import Callable


class Admission(enum.Enum):
    """Whether a call may be made."""

    FREE = enum.auto()
    PROBE = enum.auto()
    """It may, and all others wait for what comes of it."""
    REFUSED = enum.auto()


class Breaker:
    """Opens after `after` failures in a row; `pause` s later one call is the probe that closes it or does not.

    Failures and successes are of requests, not of calls: those of calls that run side by side count together, so
    that what hangs is known after the time limit of one request, however many wait. `changed` is told when it opens
    (True) and closes (False).
    """

    def __init__(
        self, after: int, pause: float, clock: Callable[[], float], changed: Callable[[bool], None]
    ) -> None:
        self._after = after
        self._pause = pause
        self._clock = clock
        self._changed = changed
        self._failures = 0
        self._probing = False
        self._next_probe: float | None = None  # None: closed

    @property
    def open(self) -> bool:
        """Whether calls fail at once; so they do until a probe has worked."""
        return self._next_probe is not None

    def admit(self) -> Admission:
        """Ask before a call. A PROBE must be told what came of it, whatever that is."""
        if self._next_probe is None:
            return Admission.FREE
        if self._probing or self._clock() < self._next_probe:
            return Admission.REFUSED
        self._probing = True
        return Admission.PROBE

    def worked(self) -> None:
        """The server has answered, so it lives, whoever asked."""
        self._failures = 0
        self._probing = False
        if self._next_probe is not None:
            self._next_probe = None
            self._changed(False)  # noqa: FBT003 - closed

    def failed(self) -> None:
        """The server has not answered a request that was none of the probe's."""
        self._failures += 1
        if self._next_probe is None and self._failures >= self._after:
            self._next_probe = self._clock() + self._pause
            self._changed(True)  # noqa: FBT003 - open

    def probe_ended(self) -> None:
        """The probe is over; unless it has worked, the pause begins anew."""
        if self._probing:
            self._probing = False
            self._next_probe = self._clock() + self._pause
