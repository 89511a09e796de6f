"""`invites tail`: notifications as they come."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from workers.cli.options import AsJsonLines, Common, with_common

if TYPE_CHECKING:
    from invites.keys import Keys
    from invites.queries.streams import StreamEntry
    from workers.cli.session import Session

_BLOCK_MS = 2_000
_PAGE = 500


@with_common()
def tail(
    *,
    common: Common,
    last: Annotated[
        int,
        typer.Option(
            "--last", "-n", min=0, metavar="N", help="Begin with the last N that are there already."
        ),
    ] = 0,
    as_json: AsJsonLines = False,
) -> int:
    """Print notifications as they come, until Ctrl-C. It only looks: gateways still get each of them."""

    async def follow(session: Session) -> int:
        # A read for each shard: on a cluster they are in several places.
        following = asyncio.gather(
            *(_follow(session, keys, last, as_json=as_json) for keys in session.shards())
        )
        # Not as KeyboardInterrupt: a shell's background job has SIGINT ignored until somebody handles it.
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, following.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await following
        return 0

    return common.on_server(follow, block_ms=_BLOCK_MS)


async def _follow(session: Session, keys: Keys, last: int, *, as_json: bool) -> NoReturn:
    from invites.queries import streams

    client, stream = session.client(keys), keys.notifications
    # From the newest id on, and not from "$": between two reads nothing must be missed.
    found = await streams.newest(client, stream, max(1, last))
    after = found[-1].id if found else "0-0"
    _print(found if last else [], as_json=as_json)
    while True:
        reply = await client.execute_command(
            b"XREAD", b"COUNT", _PAGE, b"BLOCK", _BLOCK_MS, b"STREAMS", stream, after
        )
        for _, entries in reply or ():
            came = streams.entries_of(entries)
            after = came[-1].id
            _print(came, as_json=as_json)


def _print(entries: list[StreamEntry], *, as_json: bool) -> None:
    from workers.cli import notifications

    for entry in entries:
        if as_json:
            typer.echo(notifications.as_json(entry))
        else:
            typer.secho(notifications.line(entry), fg=notifications.colour_of(entry.text(b"type")))
