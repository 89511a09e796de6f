"""Finds the regular expressions that fit a number. Matching runs in a thread, so that slow ones hold up no event loop.

The slowest expression that is allowed takes some 20 ms for one number, and hundreds of trunks may have one each. RE2
releases the interpreter while it matches.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import re2

from invites.events.fields import ANYTHING, compile_match

if TYPE_CHECKING:
    from collections.abc import Sequence

_SLICE: Final = 16
"""Expressions of one job: a stop waits for one job, and jobs for other calls have their turn in between."""

# One thread: matching takes one core at most, and leaves the others to the worker.
_POOL: Final = ThreadPoolExecutor(1, thread_name_prefix="matching")


async def fitting(expressions: Sequence[str], number: str, most: int = 1) -> list[int]:
    """The indices of the first `most` expressions that fit the whole number, in order."""
    loop, found = asyncio.get_running_loop(), list[int]()
    for start in range(0, len(expressions), _SLICE):
        part = expressions[start : start + _SLICE]
        if all(expression == ANYTHING for expression in part):
            fit = list(range(len(part)))
        else:
            fit = await loop.run_in_executor(_POOL, _fitting, part, number, most - len(found))
        found += [start + index for index in fit[: most - len(found)]]
        if len(found) == most:
            break
    return found


def fits(expression: str, number: str) -> bool:
    """Say whether the whole number fits. An invalid expression fits nothing."""
    if expression == ANYTHING:
        return True
    compiled = _compiled(expression)
    return compiled is not None and compiled.fullmatch(number) is not None


def _fitting(expressions: Sequence[str], number: str, most: int) -> list[int]:
    found = (index for index, expression in enumerate(expressions) if fits(expression, number))
    return list(islice(found, most))


@lru_cache(maxsize=512)  # each takes up to 64 KiB
def _compiled(expression: str) -> Any:  # noqa: ANN401 - re2 has no types
    try:
        return compile_match(expression)
    except re2.error:
        return None  # whatever the registry holds, one trunk must not fail the calls of all others
