"""Retry timing: back-off with jitter, Retry-After, and the deadline of a call."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final

_FIRST_S: Final = 0.1
_LONGEST_S: Final = 1.0
_DOUBLINGS: Final = 10  # enough to reach the limit; keeps the float finite


@dataclass(frozen=True, slots=True)
class Timing:
    """The client's clocks and delays, in s. Tests replace them."""

    clock: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    random: Callable[[], float] = random.random

    def backoff(self, attempt: int) -> float:
        """The delay after an attempt (the first is 1), in s.

        It doubles from 0.1 s to 1 s, and half of it is random, so that workers do not retry in step.
        """
        ceiling = min(_LONGEST_S, math.ldexp(_FIRST_S, min(attempt, _DOUBLINGS) - 1))
        return ceiling * (0.5 + self.random() / 2)

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
