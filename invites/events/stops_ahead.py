"""Invites whose stop follows in the same commit end as they begin, so that no phone flashes.

Only the events between two events of a commit can come between them. So an answer of the callee before the stop is
among these, and then the invite rings as usual.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from invites.events.protocol import Accept, Decline, Invite, InviteRequest, StopInvite

if TYPE_CHECKING:
    from collections.abc import Sequence

    from invites.events.operation import Operation

_Stops = dict[tuple[str, str | None], StopInvite]
"""callee and inviter (None: any inviter) -> the first stop that is ahead"""

_CALLS: Final = (Invite, InviteRequest)


def with_stops_ahead(operations: Sequence[Operation]) -> Sequence[Operation]:
    """The operations of one commit. Invites know the code of their stop, if it follows without an answer between."""
    if not any(isinstance(operation.event, StopInvite) for operation in operations):
        return operations
    seen = list(operations)
    ahead: dict[str, _Stops] = {}
    for index in reversed(range(len(seen))):
        event = seen[index].event
        if isinstance(event, StopInvite):
            _note(ahead.setdefault(event.invite_id, {}), event)
        elif isinstance(event, Accept | Decline):
            # Of a call to a group it may name the group or the member.
            stops = ahead.get(event.invite_id, {})
            for callee, inviter in [key for key in stops if key[1] in {event.from_, None}]:
                del stops[callee, inviter]
        elif isinstance(event, _CALLS) and getattr(event, "return_of", None) is None:
            stops = ahead.get(event.invite_id, {})
            stop = stops.get((event.to, event.peer.user)) or stops.get((event.to, None))
            if stop is not None:
                seen[index] = seen[index].having(stopped=stop.error_code)
    return seen


def _note(stops: _Stops, event: StopInvite) -> None:
    """Note a stop, unless its peer may not stop the invite."""
    inviter = event.from_ or (event.peer.user if event.peer else None)
    if event.peer is None or event.peer.user == inviter:
        stops[event.callee, inviter] = event
