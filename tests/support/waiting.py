"""Waits for a condition instead of sleeping; a test that waits in vain fails with its description."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

POLL_S: Final = 0.005
TIMEOUT_S: Final = 15.0


async def wait_until(
    condition: Callable[[], bool | Awaitable[bool]], description: str, timeout_s: float = TIMEOUT_S
) -> None:
    """Return once the condition holds; AssertionError with the description when it does not in time."""
    deadline = time.monotonic() + timeout_s
    while True:
        result = condition()
        if result if isinstance(result, bool) else await result:
            return
        assert time.monotonic() < deadline, f"waited {timeout_s} s in vain until {description}"
        await asyncio.sleep(POLL_S)


def wait_until_sync(condition: Callable[[], bool], description: str, timeout_s: float = TIMEOUT_S) -> None:
    """As wait_until, for code outside an event loop."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout_s} s in vain until {description}"
        time.sleep(POLL_S)
