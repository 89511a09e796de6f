"""Lists all kinds of keys and timers, and the id that decides the shard of each.

`invites reshard` would leave a missing kind behind. Tests compare the list with the names in the Lua, and with the keys
that the tests of the rules create.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from invites.values.ref import callee_of

if TYPE_CHECKING:
    from collections.abc import Callable

Name = str
"""The id that decides the shard: a user, a peer, a group, a number or a room."""


def _first(joined: str) -> Name:
    return joined.partition("|")[0]


WHOLE: Final[dict[str, Callable[[str], Name]]] = {
    "invite": callee_of,
    "candidates": callee_of,
    "legs": callee_of,
    "story": callee_of,
    "news": callee_of,
    "stopped": callee_of,
    "replaced": callee_of,
    "met": callee_of,
    "registry": _first,
    "known": _first,
    "user-state": _first,
    "gone": _first,
    "away": _first,
    "holder": _first,
    "calls": _first,
    "missed": _first,
    "calls-ended": _first,
    "calls-missed": _first,
    "history": _first,
    "request": _first,
    "cleared": _first,
    "room-members": _first,
    "room-invites": _first,
    "closed": _first,
    "left": _first,
    "came": _first,
    "busy": _first,
    "todo-of": _first,
}
"""Keys that belong to one name: kind -> the name in the rest of the key."""

SPLIT: Final = frozenset({"pending", "parallel", "ended", "todo"})
"""Sets and sorted sets of refs. Each ref belongs to the shard of its invite; a trunk's user has sets in many shards."""

BY_VALUE: Final = "grace"
"""The kind whose value is the user that the key belongs to."""

EVERYWHERE: Final = frozenset({"over", "redials", "trunks", "trunks-version"})
"""Keys in all shards: trunks, marks that an invite is over before its event has arrived, and that calls were made again
lately."""

STAYING: Final = frozenset(
    {
        "events",
        "notifications",
        "push",
        "relay",
        "dead",
        "timers",
        "retry",
        "owed",
        "waiting",
        "taken",
        "layout",
        "origin",
        "worker",
        "servers",
        "resharding",
        "minute",
    }
)
"""Keys of the shard itself. The entries of `push` and the members of `timers` are moved one by one.

`retry`, the failures of a timer, expires: a timer that moves takes its due time along. `waiting`, since when
timers wait, expires too, and so does `minute`, what was counted.
"""

TIMERS: Final[dict[str, Callable[[str], Name]]] = {
    "ring": callee_of,
    "step": callee_of,
    "wake": callee_of,
    "caller": _first,
    "grace": _first,
    "lapse": _first,
    "left": _first,
    "busy": _first,
}
"""Timers: kind -> the name in the rest of the member. See `timers.py` for timers of trunks."""

KINDS: Final = frozenset(WHOLE) | SPLIT | EVERYWHERE | STAYING | {BY_VALUE}


def kind_of(key: str) -> tuple[str, str]:
    """The kind and the rest of a key, whose prefix and hash tag have been removed."""
    kind, _, rest = key.partition(":")
    return kind, rest
