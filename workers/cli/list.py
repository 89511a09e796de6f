"""`invites list`: pending and ended invites."""

from __future__ import annotations

import heapq
import time
from typing import TYPE_CHECKING, Annotated

import typer
from msgspec import Struct

from invites.values.server_time import in_ms
from workers.cli.moments import FORMS, parse_moment
from workers.cli.notifications import time_of
from workers.cli.options import AsJson, CommandError, Common, with_common
from workers.cli.output import say, say_json
from workers.cli.watch import Watch, shown
from workers.cli.words import duration

if TYPE_CHECKING:
    from invites.queries.lists import Filter, Row
    from workers.cli.session import Session

_User = Annotated[
    str | None,
    typer.Option(
        "--user", metavar="USER", help="Only invites by or to this user, also as a member of a group."
    ),
]
_State = Annotated[
    str,
    typer.Option(
        "--state",
        metavar="STATE",
        help="PENDING (what rings), ENDED, ALL, or one of ACCEPTED, DECLINED, DECLINED_BY_CREATOR, "
        "DECLINED_BY_TIMEOUT.",
    ),
]
_Room = Annotated[str | None, typer.Option("--room", metavar="ROOM", help="Only invites into this room.")]
_Since = Annotated[
    str | None,
    typer.Option("--since", metavar="TIME", help=f"Only invites that began then or later: {FORMS}."),
]
_Limit = Annotated[
    int, typer.Option("--limit", metavar="N", min=1, max=100_000, help="List at most N invites.")
]


class _List(Struct):
    invites: list[Row]
    more: bool
    now: int


@with_common()
def list_(
    *,
    user: _User = None,
    state: _State = "PENDING",
    room: _Room = None,
    since: _Since = None,
    limit: _Limit = 50,
    watch: Watch = None,
    common: Common,
    as_json: AsJson = False,
) -> int:
    """List the invites that ring now, or those that have ended and are still readable.

    Of pending invites, the command lists those with the first deadlines, from each shard in turn, up to the limit. Of
    ended ones it lists the newest; for that it looks through all keys of the servers.
    """
    from invites.queries.lists import PENDING, STATES, Filter

    if (state := state.upper().replace("-", "_")) not in STATES:
        raise CommandError(f"--state must be one of {', '.join(STATES)}.", 2)
    try:
        begun = None if since is None else parse_moment(since, int(time.time() * 1_000))
    except (ValueError, OverflowError):
        raise CommandError(f"--since must be a time: {FORMS}.", 2) from None
    asked = Filter(user, state, room, begun)

    async def run(session: Session) -> int:
        def show(found: _List) -> int:
            if as_json:
                say_json({"invites": found.invites, "more": found.more})
            else:
                _print(found, limit, "nothing rings" if state == PENDING else "no such invite is readable")
            return 0

        return await shown(lambda: _read(session, asked, limit), show, watch, as_json=as_json)

    return common.on_server(run)


async def _read(session: Session, asked: Filter, limit: int) -> _List:
    from invites.queries.lists import MOST, PENDING, InviteLists

    lists, newest = InviteLists(session.shards(), session.client), asked.state != PENDING
    found: dict[str, Row] = {}
    cursor, more = None, False
    while True:
        page = await lists.page(asked, MOST, cursor)
        found |= {row.ref: row for row in page.invites}
        cursor = page.cursor
        if len(found) > limit:
            more = True
            rows = heapq.nlargest(limit, found.values(), key=_began) if newest else [*found.values()][:limit]
            found = {row.ref: row for row in rows}
        if cursor is None or (more and not newest):
            break
    now = in_ms(await session.client(session.shard(0)).time())
    rows = sorted(found.values(), key=_began, reverse=newest)
    return _List(rows, more, now)


def _print(found: _List, limit: int, nothing: str) -> None:
    for row in found.invites:
        say(_line(row, found.now))
    if not found.invites:
        say(nothing)
    elif found.more:
        say(f"There are more: --limit {2 * limit} lists more of them.")


def _began(row: Row) -> tuple[int, str]:
    return row.started_at or 0, row.ref


def _line(row: Row, now: int) -> str:
    began = row.started_at or now
    words = [time_of(began), f"{row.state or '?':19}"]
    if row.ended_at is None:
        words.append(f"for {duration(max(0, now - began))}")
    else:
        words.append(f"{row.code} {row.reason} after {duration(max(0, row.ended_at - began))}")
    words.append(f"'{row.ref}'")
    words += [] if row.room is None else [f"room {row.room}"]
    words += {"group": ["to a group"], "leg": [f"in the call to {row.group}"]}.get(row.kind, [])
    return "  ".join(words)
