"""`invites demo`: example calls in the terminal, or on a page."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from workers.cli.options import CommandError, Common, Level, with_common
from workers.cli.output import say


@with_common(log_level=Level.WARN)
def demo(
    *,
    svg: Annotated[
        Path | None,
        typer.Option("--svg", metavar="FILE", help="Write a picture of the first calls, as SVG."),
    ] = None,
    page: Annotated[
        bool, typer.Option("--page", metavar="", help="Show phones on a page instead, until Ctrl-C.")
    ] = False,
    host: Annotated[
        str | None,
        typer.Option(
            "--host",
            metavar="HOST",
            help="Where the page listens. Default: 127.0.0.1; 0.0.0.0 lets other devices take part.",
        ),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            "--port", metavar="PORT", min=0, max=65_535, help="Port of the page. Default: 8100; 0 means any."
        ),
    ] = None,
    _: Common,
) -> int:
    """Play example calls in the terminal, with a temporary server, a worker and devices. Ends by itself.

    With --page, a page has a few people and their phones, for you to call with: over a real gateway, two workers and a
    fake sippo-server. The demo needs no server and no configuration. It validates --config and --redis-url but does
    not use them.
    """
    from workers.lab.demo import play
    from workers.lab.embedded import EmbeddedError
    from workers.lab.page import PageError, show

    if page and svg is not None:
        raise CommandError("--svg and --page exclude each other.", 2)
    if not page and (host is not None or port is not None):
        raise CommandError("--host and --port need --page.", 2)
    try:
        if page:
            return asyncio.run(show(host or "127.0.0.1", 8100 if port is None else port, say))
        return asyncio.run(play(svg=svg))
    except (EmbeddedError, PageError) as error:
        raise CommandError(str(error)) from None
