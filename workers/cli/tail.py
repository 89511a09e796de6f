"""`invites tail`: notifications as they arrive."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from workers.cli.options import AsJsonLines, Common, with_common
from workers.cli.output import say, say_json
from workers.cli.stopping import until_stopped

if TYPE_CHECKING:
    from invites.events.entry import Entry
    from invites.keys import Keys
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
            "--last", "-n", min=0, metavar="N", help="Begin with the last N notifications of the stream."
        ),
    ] = 0,
    as_json: AsJsonLines = False,
) -> int:
    """Print notifications as they arrive, until Ctrl-C. Gateways still receive all of them."""

    async def follow(session: Session) -> int:
        await until_stopped(_follow_all(session, last, as_json=as_json))
        return 0

    return common.on_server(follow, block_ms=_BLOCK_MS)


async def _follow_all(session: Session, last: int, *, as_json: bool) -> None:
    # One read per shard: on a cluster, several nodes own the shards.
    await asyncio.gather(*(_follow(session, keys, last, as_json=as_json) for keys in session.shards()))


async def _follow(session: Session, keys: Keys, last: int, *, as_json: bool) -> NoReturn:
    from invites.events.entry import entries_of
    from invites.queries import streams

    client, stream = session.client(keys), keys.notifications
    # Start at the newest id: with "$", notifications between two reads would be lost.
    found = await streams.newest(client, stream, max(1, last))
    after = found[-1].id if found else "0-0"
    _print(found if last else [], as_json=as_json)
    while True:
        reply = await client.execute_command(
            b"XREAD", b"COUNT", _PAGE, b"BLOCK", _BLOCK_MS, b"STREAMS", stream, after
        )
        for _, entries in reply or ():
            came = entries_of(entries)
            after = came[-1].id
            _print(came, as_json=as_json)


def _print(entries: list[Entry], *, as_json: bool) -> None:
    from workers.cli import notifications

    for entry in entries:
        if as_json:
            say_json(notifications.as_object(entry))
        else:
            say(notifications.line(entry), colour=notifications.colour_of(entry.text(b"type")))
