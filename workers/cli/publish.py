"""`invites publish`: one event for the workers."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from workers.cli.options import CommandError, Common, with_common
from workers.cli.output import say

if TYPE_CHECKING:
    from workers.cli.session import Session


@with_common()
def publish(
    *,
    kind: Annotated[str, typer.Argument(metavar="TYPE", help="Type of the event, one of the types above.")],
    payload: Annotated[
        str,
        typer.Argument(metavar="JSON", help="Payload of the event, a JSON object; - reads it from stdin."),
    ],
    common: Common,
) -> int:
    """Publish one event to the stream of its shard, and print the id of the entry.

    Types: invite, inviteRequest, ringing, accept, decline, silence, stopInvite, getInvitations, registered,
    unregistered, disconnected, joined, left, roomClosed, userState, callsSeen.

    For example: `invites publish registered '{"registry": {"id": "p1", "user": "bob"}}'`

    The command checks the event first. It refuses an event that no worker could process, and says why.
    """
    from invites.events.fields import BadEvent
    from invites.events.protocol import decode_event
    from invites.events.routing import routing_key

    raw = sys.stdin.buffer.read() if payload == "-" else payload.encode("utf-8", "surrogateescape")
    try:
        event = decode_event(kind, raw)
    except BadEvent as error:
        raise CommandError(str(error), 2) from None

    async def put(session: Session) -> int:
        keys = session.shard_for(routing_key(event))
        entry = await session.client(keys).xadd(keys.events, {"type": kind, "payload": raw})
        say(entry if isinstance(entry, str) else entry.decode())
        return 0

    return common.on_server(put, any_shards=True)
