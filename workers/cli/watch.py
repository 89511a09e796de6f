"""`--watch`: shows something again and again until Ctrl-C."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Final, TypeVar

import typer

from workers.cli.output import begin_page
from workers.cli.stopping import until_stopped

Read = TypeVar("Read")

_SECONDS: Final = "2"

Watch = Annotated[
    float | None,
    typer.Option(
        "--watch",
        metavar="[SECONDS]",
        min=0.1,
        max=86_400,
        help="Show it again every SECONDS (2), until Ctrl-C.",
    ),
]


def with_seconds(arguments: Sequence[str]) -> list[str]:
    """The arguments of a command, with a number after each `--watch`.

    An option of typer always takes a value, or never.
    """
    completed: list[str] = []
    for at, word in enumerate(arguments):
        has_number = any(one[:1].isdigit() for one in arguments[at + 1 : at + 2])
        completed += [word, _SECONDS] if word == "--watch" and not has_number else [word]
    return completed


async def shown(
    read: Callable[[], Awaitable[Read]], show: Callable[[Read], int], seconds: float | None, *, as_json: bool
) -> int:
    """Read and show once and return the status; with `seconds` again and again until Ctrl-C, then 0."""
    if seconds is None:
        return show(await read())
    await until_stopped(_again_and_again(read, show, seconds, as_json=as_json))
    return 0


async def _again_and_again(
    read: Callable[[], Awaitable[Read]], show: Callable[[Read], int], seconds: float, *, as_json: bool
) -> None:
    while True:
        found = await read()
        if not as_json:
            begin_page()
        show(found)
        await asyncio.sleep(seconds)
