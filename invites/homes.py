"""Which ids decide the shard of each kind of key, and of each timer: where a move has to bring it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from msgspec import Struct


class Ref(NamedTuple):
    """The three ids of a ref."""

    inviter: str
    invite_id: str
    callee: str


class Homes(Struct, frozen=True):
    """Where something belongs: the shards of `names`, and those of the invites that ring the user `rung`.

    `everywhere`: in every shard. `stays`: it is the shard's own, whatever it holds. `by_member`: a set of refs, each of
    which stands with its invite.
    """

    names: tuple[str, ...] = ()
    rung: str | None = None
    everywhere: bool = False
    stays: bool = False
    by_member: bool = False


def names_of_ref(ref: str) -> Ref:
    """The ids in `from|inviteId|to`; the inviter may be empty, where anybody is meant."""
    inviter, invite_id, callee = ref.split("|")
    return Ref(inviter, invite_id, callee)


def _itself(name: str) -> Homes:
    return Homes((name,))


def _first(name: str) -> Homes:
    return Homes((name.partition("|")[0],))


def _callee(name: str) -> Homes:
    return Homes((names_of_ref(name).callee,))


def _lost(name: str) -> Homes:
    """Of a peer that is away; its user stands in front of it."""
    user = name.partition("|")[0]
    return Homes((user,), rung=user)


def _by_member(_: str) -> Homes:
    return Homes(by_member=True)


def _everywhere(_: str) -> Homes:
    return Homes(everywhere=True)


def _stays(_: str) -> Homes:
    return Homes(stays=True)


_OF_THE_SHARD: Final = (
    *("events", "notifications", "push", "relay", "dead", "timers"),
    *("trunks", "trunks-version", "taken", "layout", "former-layout"),
)

# Kind -> what decides, by the rest of the key's name.
_KEYS: Final[Mapping[str, Callable[[str], Homes]]] = {
    "invite": _callee,
    "candidates": _callee,
    "legs": _callee,
    "news": _callee,
    "stopped": _callee,
    "request": _first,
    "registry": _itself,
    "known": _itself,
    "calls": _itself,
    "gone": _first,
    "closed": _itself,
    "left": _first,
    "room-members": _itself,
    "room-invites": _itself,
    "grace": _lost,  # by its value, the user
    "over": _everywhere,  # the inviter's, the room's and the member's shard look for it
    "pending": _by_member,
    "parallel": _by_member,
    "ended": _by_member,
    **dict.fromkeys(_OF_THE_SHARD, _stays),
}

_TIMERS: Final[Mapping[str, Callable[[str], Homes]]] = {
    "ring": _callee,
    "step": _callee,
    "close": _first,
    "caller": _first,
    "lapse": _first,
    "grace": _lost,
}

KINDS: Final = frozenset(_KEYS)
"""All kinds of keys."""
TIMERS: Final = frozenset(_TIMERS)
"""All kinds of timers."""


def homes_of(kind: str, name: str) -> Homes:
    """Where a key of this kind belongs; of the kind `timers` a timer, by its member.

    Of what is not known nothing is said but that it stays.
    """
    if kind == "timers" and name:
        timer, _, rest = name.partition("|")
        return _TIMERS.get(timer, _stays)(rest)
    return _KEYS.get(kind, _stays)(name)
