"""Retry timing: back-off with jitter, Retry-After, and the deadline of a call."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final

from tenacity import RetryCallState

from invites.values.backoff import exponential

_BACKOFF: Final = exponential(100, 1_000)


@dataclass(frozen=True, slots=True)
class Timing:
    """The client's clocks and delays, in s. Tests replace them."""

    clock: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    backoff: Callable[[RetryCallState], float] = _BACKOFF

    def retry_after(self, value: str | None, date: str | None) -> float:
        """The delay in a Retry-After header (RFC 9110, section 10.2.3), in s; 0 when it is missing or invalid.

        A date is compared with the reply's own `date` if there is one, since clocks differ.
        """
        if value is None:
            return 0.0
        value = value.strip()
        if value.isascii() and value.isdecimal():
            return float(value)
        until = _timestamp(value)
        if until is None:
            return 0.0
        now = _timestamp(date) if date is not None else None
        return max(0.0, until - (self.wall() if now is None else now))


class Budget:
    """The time limit of one call in s, including its delays."""

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._end = clock() + seconds

    def left(self) -> float:
        """The remaining time in s, at least 0."""
        return max(0.0, self._end - self._clock())


def _timestamp(date: str) -> float | None:
    try:
        found = parsedate_to_datetime(date)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
