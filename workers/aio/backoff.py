"""Waiting before the next attempt, and waiting that a stop ends early."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

from tenacity import AsyncRetrying, RetryCallState

from invites.values.backoff import exponential

_FIRST_MS: Final = 50
_LONGEST_MS: Final = 1_000


async def pause(seconds: float, until: asyncio.Event) -> None:
    """Sleep for `seconds`, or until the event `until` is set."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await until.wait()


class Backoff:
    """The delays between attempts of a loop that never gives up; see `invites.values.backoff`."""

    def __init__(self, first_ms: int = _FIRST_MS, longest_ms: int = _LONGEST_MS) -> None:
        self._delay = exponential(first_ms, longest_ms)
        self._state = RetryCallState(AsyncRetrying(), None, (), {})

    def reset(self) -> None:
        """The last attempt succeeded."""
        self._state.attempt_number = 1

    async def wait(self, until: asyncio.Event | None = None, *, at_least_s: float = 0.0) -> None:
        """Wait for the next attempt's turn, or until the event `until` is set."""
        delay = max(self._delay(self._state), at_least_s)
        self._state.attempt_number += 1
        if until is None:
            await asyncio.sleep(delay)
        else:
            await pause(delay, until)
