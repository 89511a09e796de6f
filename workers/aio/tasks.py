"""Starts tasks and ends them reliably."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

_log = logging.getLogger(__name__)


class Loop(Protocol):
    """A component that runs until it is stopped."""

    async def run(self) -> None:
        """Run until stopped."""


def begin(loops: Iterable[Loop], where: str) -> list[asyncio.Task[None]]:
    """Start loops as tasks, each named after its class and `where` it works."""
    return [asyncio.create_task(loop.run(), name=f"{type(loop).__name__} of {where}") for loop in loops]


async def end(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel tasks and wait until they have ended. Their results and exceptions stay in them."""
    running = [task for task in tasks if not task.done()]
    for task in running:
        task.cancel()
    if running:
        await asyncio.wait(running)


async def end_loops(tasks: Iterable[asyncio.Task[None]]) -> None:
    """End the tasks of loops. Logs the error of a loop that has failed."""
    tasks = list(tasks)
    await end(tasks)
    for task in tasks:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            _log.error("The %s has failed.", task.get_name(), exc_info=error)
