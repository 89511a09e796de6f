"""`invites tail`: notifications as they come."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from invites.cli.options import (
    Common,
    ConfigFile,
    Format,
    Level,
    LogFormat,
    LogLevel,
    RedisUrl,
)

if TYPE_CHECKING:
    from invites.cli.session import Session
    from invites.streams import StreamEntry

_BLOCK_MS = 2_000
_PAGE = 500


def tail(
    config: ConfigFile = None,
    redis_url: RedisUrl = None,
    log_level: LogLevel = Level.INFO,
    log_format: LogFormat = Format.TEXT,
    last: Annotated[
        int, typer.Option("--last", "-n", min=0, help="Begin with so many that are there already.")
    ] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print each as one JSON object a line.")] = False,
) -> int:
    """Print notifications as they come, until Ctrl-C. The gateways lose nothing by it."""
    from invites.cli.session import run

    async def follow(session: Session) -> int:
        following = asyncio.ensure_future(_follow(session, last, as_json=as_json))
        # Not as KeyboardInterrupt: a shell's background job has SIGINT ignored until somebody handles it.
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, following.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await following
        return 0

    return run(Common(config, redis_url, log_level, log_format), follow, block_ms=_BLOCK_MS)


async def _follow(session: Session, last: int, *, as_json: bool) -> NoReturn:
    from invites import streams

    after = {}
    for keys in session.shards():
        # From the newest id on, and not from "$": between two reads nothing must be missed.
        found = await streams.newest(session.client, keys.notifications, max(1, last))
        after[keys.notifications] = found[-1].id if found else "0-0"
        _print(found if last else [], as_json=as_json)
    while True:
        reply = await session.client.execute_command(
            b"XREAD", b"COUNT", _PAGE, b"BLOCK", _BLOCK_MS, b"STREAMS", *after.keys(), *after.values()
        )
        for stream, entries in reply or ():
            came = streams.entries_of(entries)
            after[stream.decode()] = came[-1].id
            _print(came, as_json=as_json)


def _print(entries: list[StreamEntry], *, as_json: bool) -> None:
    from invites.cli import notifications

    for entry in entries:
        if as_json:
            typer.echo(notifications.as_json(entry))
        else:
            typer.secho(notifications.line(entry), fg=notifications.colour_of(entry.text(b"type")))
