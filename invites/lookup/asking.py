"""Asks sippo-server many questions at once, without raising for those that fail."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, TypeVar

from invites.sippo import NoAnswer

_T = TypeVar("_T")

# Requests for one group; each takes some 0.3 ms of the worker's time, and requests that end together hold up other
# events.
_AT_ONCE: Final = 32


async def tried(call: Awaitable[_T]) -> _T | NoAnswer:
    """The answer, or why there is none."""
    try:
        return await call
    except NoAnswer as why:
        return why


async def some_at_once(ask: Callable[[_T], Awaitable[None]], about: Iterable[_T]) -> None:
    """Ask about each, a limited number at once, in their order."""
    waiting = iter(about)

    async def go_on() -> None:
        for one in waiting:
            await ask(one)

    await asyncio.gather(*(go_on() for _ in range(_AT_ONCE)))
