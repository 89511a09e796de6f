"""When to try again: backoff with jitter, Retry-After, and the time that is left."""

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
_DOUBLINGS: Final = 10  # beyond any limit, and far from where a float ends


@dataclass(frozen=True, slots=True)
class Timing:
    """The client's clocks and its patience, in s; tests bring their own."""

    clock: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    random: Callable[[], float] = random.random

    def backoff(self, attempt: int) -> float:
        """How long to wait after the attempt of this number (the first is 1).

        Doubles from 0.1 s to 1 s, and half of it is random: workers that lost the same server do not come back
        as one herd.
        """
        ceiling = min(_LONGEST_S, math.ldexp(_FIRST_S, min(attempt, _DOUBLINGS) - 1))
        return ceiling * (0.5 + self.random() / 2)

    def retry_after(self, value: str | None, date: str | None) -> float:
        """What a Retry-After asks for (RFC 9110, 10.2.3); 0 when there is none that makes sense.

        A date is compared with the answer's own `date`, if there is one, since clocks differ.
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
    """The time that one call has in all, waiting included (s)."""

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._end = clock() + seconds

    def left(self) -> float:
        """What is left of it; 0 when nothing is."""
        return max(0.0, self._end - self._clock())


def _timestamp(date: str) -> float | None:
    try:
        found = parsedate_to_datetime(date)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
