"""Where everything belongs that a shard holds: the one list of all kinds of keys and timers.

A kind that is missing here would be left behind by `invites reshard`. The tests compare it with what the Lua names, and
with what the tests of the rules leave.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

Name = str
"""The id that decides the shard: a user, a group, a number, a room."""


def callee_of(ref: str) -> Name:
    """The user, group or number that an invite is for: its ref is `from|inviteId|to`."""
    return ref.rpartition("|")[2]


def _first(joined: str) -> Name:
    return joined.partition("|")[0]


WHOLE: Final[dict[str, Callable[[str], Name]]] = {
    "invite": callee_of,
    "candidates": callee_of,
    "legs": callee_of,
    "news": callee_of,
    "stopped": callee_of,
    "registry": _first,
    "known": _first,
    "gone": _first,
    "calls": _first,
    "request": _first,
    "room-members": _first,
    "room-invites": _first,
    "closed": _first,
    "left": _first,
}
"""Keys that belong to one name, by kind: who that is, by what stands behind the kind."""

SPLIT: Final = frozenset({"pending", "parallel", "ended"})
"""Sets and sorted sets of refs. Each ref belongs where its invite is: a trunk's user has such sets in many shards."""

BY_VALUE: Final = "grace"
"""A key whose value is the user that it belongs to."""

EVERYWHERE: Final = frozenset({"over", "trunks", "trunks-version"})
"""What holds in all shards: trunks, and that an invite is over whose beginning may still be on its way."""

STAYING: Final = frozenset(
    {"events", "notifications", "push", "relay", "dead", "timers", "taken", "layout", "resharding"}
)
"""What each shard has of its own. Of the entries in the streams those of `push` are moved, of `timers` the members."""

TIMERS: Final[dict[str, Callable[[str], Name]]] = {
    "ring": callee_of,
    "step": callee_of,
    "caller": _first,
    "close": _first,
    "grace": _first,
    "lapse": _first,
}
"""Timers by kind: whose they are, by what stands behind the kind. See `timers.py` for those of trunks."""

KINDS: Final = frozenset(WHOLE) | SPLIT | EVERYWHERE | STAYING | {BY_VALUE}


def kind_of(key: str) -> tuple[str, str]:
    """The kind of a key without what all keys of its shard begin with, and what stands behind it."""
    kind, _, rest = key.partition(":")
    return kind, rest
