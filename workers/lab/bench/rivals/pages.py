"""Makes a backlog with a rival's own client."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

_AT_ONCE: Final = 50  # below the connection limit of the clients


async def repeat(times: int, enqueue_one: Callable[[], Awaitable[object]]) -> None:
    """Enqueue jobs, a page of them at a time."""
    for first in range(0, times, _AT_ONCE):
        await asyncio.gather(*(enqueue_one() for _ in range(min(_AT_ONCE, times - first))))
