"""Waiting before the next attempt, and waiting that a stop ends early."""

from __future__ import annotations

import asyncio
import contextlib
import random


async def pause(seconds: float, until: asyncio.Event) -> None:
    """Sleep for `seconds`, or until the event `until` is set."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await until.wait()


class Backoff:
    """Delays that double from `first_ms` to `longest_ms`, until something has worked again.

    Half of each delay is random: workers that lost the same server at once do not come back as one herd.
    """

    def __init__(self, first_ms: int = 50, longest_ms: int = 1000) -> None:
        self._first_s = first_ms / 1000
        self._longest_s = longest_ms / 1000
        self._next_s = self._first_s

    def reset(self) -> None:
        """The last attempt has worked."""
        self._next_s = self._first_s

    async def wait(self, until: asyncio.Event | None = None, *, at_least_s: float = 0.0) -> None:
        """Wait for the next attempt's turn, or until the event `until` is set."""
        delay, self._next_s = self._next_s, min(self._next_s * 2, self._longest_s)
        delay = max(delay * random.uniform(0.5, 1.0), at_least_s)
        if until is None:
            await asyncio.sleep(delay)
        else:
            await pause(delay, until)
