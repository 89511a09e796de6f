"""How long calls took and how they ended: reported by a commit beside its outcomes, for the worker's metrics.

Only the reply to the commit that wrote an end or a ringing reports it, never the reply to a repeat. So each is counted
once, or not at all if that reply is lost.
"""

from typing import Final

import msgspec

KINDS: Final = ("direct", "group", "request")
"""A call to a user or a number, a call to a group, an `inviteRequest` to a user."""

ENDS: Final = (
    ("ACCEPTED", "accepted"),
    ("ACCEPTED", "merged"),
    ("DECLINED", "declined"),
    ("DECLINED", "busy"),
    ("DECLINED", "not_found"),
    ("DECLINED", "unreachable"),
    ("DECLINED", "too_many"),
    ("DECLINED", "cancelled"),
    ("DECLINED", "forbidden"),
    ("DECLINED", "internal"),
    ("DECLINED_BY_CREATOR", "cancelled"),
    ("DECLINED_BY_CREATOR", "caller_gone"),
    ("DECLINED_BY_CREATOR", "room_closed"),
    ("DECLINED_BY_CREATOR", "replaced"),
    ("DECLINED_BY_TIMEOUT", "timeout"),
)
"""State and reason of every end of an invite, as in PROTOCOL.md."""

REACHES: Final = ("connection", "push")
"""How the first device that rang was reached: sippo-server had taken no push for the call by then, or had."""


class Ended(msgspec.Struct, frozen=True):
    """A call has its record."""

    kind: str
    state: str
    reason: str


class Took(msgspec.Struct, frozen=True):
    """A time in s, not negative.

    `what` is `rang` (invite to the first ringing, with its `reach`), `answered` (invite to accept), `stopped` (entry of
    the accept to the cancels of the other devices) or `woke` (push taken to the device's registration).
    """

    what: str
    seconds: float
    reach: str = ""


Measure = Ended | Took


def read_measures(text: str, now: int) -> list[Measure]:
    """The lines that lua/core/unit.lua has joined, in a reply of the time `now` (ms since 1970)."""
    measures: list[Measure] = []
    for line in text.splitlines():
        what, *values = line.split(" ")
        if what not in KINDS:
            measures.append(Took(what, _seconds(values[0], now), *values[1:]))
            continue
        state, reason, began, stopped = values
        measures.append(Ended(what, state, reason))
        # A group has already reported its first accept, which may be long before its end.
        if reason == "accepted" and what != "group":
            measures.append(Took("answered", _seconds(began, now)))
        if stopped:
            measures.append(Took("stopped", _seconds(stopped, now)))
    return measures


def _seconds(since: str, now: int) -> float:
    """From a time (ms) or an entry id. One of another shard may be ahead."""
    return max(0, now - int(since.partition("-")[0])) / 1000
