"""Runs a part of a command until the operator stops it."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, Any

from workers.aio.tasks import end

if TYPE_CHECKING:
    from collections.abc import Coroutine


async def until_stopped(work: Coroutine[Any, Any, object]) -> None:
    """Run `work` until it ends, or until SIGINT or SIGTERM. Raises what `work` raises.

    KeyboardInterrupt is not enough: a background job of a shell ignores SIGINT until it sets a handler.
    """
    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    stopped, working = asyncio.create_task(stopping.wait()), asyncio.create_task(work)
    await asyncio.wait([stopped, working], return_when=asyncio.FIRST_COMPLETED)
    await end([stopped, working])
    if not working.cancelled():
        working.result()
