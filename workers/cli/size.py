"""`invites size`: how much memory the server of an installation needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import typer

from workers.cli.options import AsJson, Common, with_common
from workers.cli.output import say, say_json

if TYPE_CHECKING:
    from collections.abc import Sequence

_MIB: Final = 1 << 20
_HEADROOM: Final = 2

_Rate = Annotated[float, typer.Option(min=0.001, metavar="N", help="Calls a second, at the busiest time.")]
_Devices = Annotated[int, typer.Option(min=0, metavar="N", help="Registered devices in all.")]
_PerUser = Annotated[
    int, typer.Option(min=1, metavar="N", help="Devices of a user, all of which a call to it rings.")
]
_RingTime = Annotated[float, typer.Option(min=0, metavar="SECONDS", help="How long a call rings.")]


@with_common()
def size(
    *,
    rate: _Rate = 1,
    devices: _Devices = 1_000,
    per_user: _PerUser = 3,
    ring_time: _RingTime = 15,
    common: Common,
    as_json: AsJson = False,
) -> None:
    """Estimate the server's memory for a rate of calls, with the settings of the configuration. Asks no server.

    Each call is that of a guest: its connection ends, both users leave the room, and the room is closed. The streams
    are not counted: unread notifications wait on the server, up to `notificationRetention`.
    """
    from invites.queries.sizes import Installation

    basic, invites = common.config.invites.basic, common.config.invites
    installation = Installation(
        rate=rate,
        devices=devices,
        per_user=per_user,
        ring_s=ring_time,
        retain_after=invites.retain_after,
        ring_timeout=invites.ring_timeout,
        caller_grace=invites.caller_grace,
        remove_after=basic.remove_after,
        story=invites.story,
    )
    parts = installation.parts()
    total = sum(part.bytes for part in parts)
    if as_json:
        say_json({"parts": parts, "bytes": total, "maxmemory": total * _HEADROOM})
        return
    rows = [(part.what, f"{part.count:,.0f}", _mib(part.bytes)) for part in parts]
    _table([*rows, ("together", "", _mib(total)), ("maxmemory, twice as much", "", _mib(total * _HEADROOM))])
    say(
        f"Ended calls are kept for {installation.readable_s:,.0f} s, the order of events for "
        f"{installation.marks_s:,.0f} s. Each call is that of a guest: its connection ends, both users leave the room, "
        "and the room is closed. The rest is for the streams, replication and the rewriting of the append-only file."
    )


def _mib(size: float) -> str:
    return f"{size / _MIB:,.1f} MiB"


def _table(rows: Sequence[tuple[str, str, str]]) -> None:
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for what, count, memory in rows:
        say(f"{what:{widths[0]}}  {count:>{widths[1]}}  {memory:>{widths[2]}}")
