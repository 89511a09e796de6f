"""A circuit breaker: after several failures in a row, calls fail at once instead of waiting."""

from __future__ import annotations

import enum
from collections.abc import Callable


class Admission(enum.Enum):
    """Whether a call may be sent."""

    FREE = enum.auto()
    PROBE = enum.auto()
    """It may, and its result decides whether the breaker closes."""
    REFUSED = enum.auto()


class Breaker:
    """Opens after `after` failures in a row. After `pause` s, one call is the probe that may close it.

    It counts requests, not calls. Requests of concurrent calls count together, so a server that hangs is noticed after
    the time limit of one request, however many calls wait. `changed` is called when the breaker opens (True) and closes
    (False).
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
        """Whether calls fail at once. They do until a probe succeeds."""
        return self._next_probe is not None

    def admit(self) -> Admission:
        """Whether a call may be sent now. The caller must report the end of a PROBE with `probe_ended`."""
        if self._next_probe is None:
            return Admission.FREE
        if self._probing or self._clock() < self._next_probe:
            return Admission.REFUSED
        self._probing = True
        return Admission.PROBE

    def worked(self) -> None:
        """A request was answered, so the server is up."""
        self._failures = 0
        self._probing = False
        if self._next_probe is not None:
            self._next_probe = None
            self._changed(False)  # noqa: FBT003 - closed

    def failed(self) -> None:
        """A request was not answered."""
        self._failures += 1
        if self._next_probe is None and self._failures >= self._after:
            self._next_probe = self._clock() + self._pause
            self._changed(True)  # noqa: FBT003 - open

    def probe_ended(self) -> None:
        """The probe has ended. Unless it succeeded, the pause starts again."""
        if self._probing:
            self._probing = False
            self._next_probe = self._clock() + self._pause
