"""`invites demo`: example calls in the terminal."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from workers.cli.options import Common, Level, with_common


@with_common(log_level=Level.WARN)
def demo(
    *,
    svg: Annotated[
        Path | None,
        typer.Option("--svg", metavar="FILE", help="Write a picture of the first calls, as SVG."),
    ] = None,
    _: Common,
) -> int:
    """Play example calls in the terminal, with a temporary server, a worker and devices. Ends by itself.

    The demo needs no server and no configuration. It validates --config and --redis-url but does not use them.
    """
    from workers.lab.demo import play

    return asyncio.run(play(svg=svg))
