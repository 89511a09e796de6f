"""Shortens a failing history in seconds; hypothesis would take minutes, since steps depend on each other."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable

from .histories import History

Run = Callable[[History], Awaitable[None]]


async def failure(history: History, run: Run) -> AssertionError | None:
    try:
        await run(history)
    except AssertionError as error:
        return error
    return None


async def fail_minimally(history: History, run: Run) -> None:
    """Run the history; if it fails, remove all steps that do not matter, and fail with the rest."""
    error = await failure(history, run)
    if error is None:
        return
    shrinking = True
    while shrinking:
        shrinking = False
        for index in reversed(range(len(history.steps))):
            steps = history.steps[:index] + history.steps[index + 1 :]
            shorter = dataclasses.replace(history, steps=steps)
            found = await failure(shorter, run)
            if found is not None:
                history, error, shrinking = shorter, found, True
    steps_left = "\n  ".join(map(str, history.steps))
    raise AssertionError(f"{history.settings}\n  {steps_left}\n{error}")
