"""`python -m workers.lab.fake_sippo`: runs the fake sippo-server until SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from workers.aio.gc import freeze_gc
from workers.lab.fake_sippo.directory import Directory
from workers.lab.fake_sippo.server import FakeSippo


def main(
    directory: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="JSON with `users`, `groups` and `numbers` (default: nobody is known)."
        ),
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65_535, help="0 means any free port.")] = 8000,
    username: Annotated[str, typer.Option(help="Who may log in.")] = "admin@quobis",
    password: Annotated[str, typer.Option(help="Not a secret: it protects nothing.")] = "fake-sippo",  # noqa: S107 - as its help says
    token_lifetime: Annotated[float, typer.Option(metavar="S", help="Lifetime of a token.")] = 3600.0,
) -> None:
    """Run a fake sippo-server on 127.0.0.1 and print the settings for `invites.basic.wac`.

    GET /fake-sippo reports the requests so far. POST /fake-sippo/faults {"fault": {"kind": "slow", "ms": 200}, "call":
    "groups", "times": 3} makes it fail (kinds: slow, status, garbage, wrongTypes, oversize, reset, hang). DELETE
    /fake-sippo/faults ends all faults.
    """
    try:
        known = (
            Directory() if directory is None else msgspec.json.decode(directory.read_bytes(), type=Directory)
        )
    except (OSError, msgspec.DecodeError) as error:
        raise typer.BadParameter(f"{directory}: {error}", param_hint="--directory") from None
    server = FakeSippo(known, username=username, password=password, token_lifetime=token_lifetime, port=port)
    try:
        asyncio.run(_run(server))
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        typer.echo(f"port {port} cannot be used: {reason}", err=True)
        raise typer.Exit(1) from None


async def _run(server: FakeSippo) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    async with server:
        freeze_gc()
        typer.echo(msgspec.json.encode(server.wac).decode())
        await stopped.wait()


if __name__ == "__main__":
    typer.run(main)
