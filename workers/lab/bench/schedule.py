"""The schedule of an open load: calls at an even rate, however long earlier calls take."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from workers.lab.bench.load import Event, Load

ANSWER_S: Final = 0.1
"""Time from an invite to its accept. (People take seconds, but that would keep many more calls pending.)"""


class Due(NamedTuple):
    """An event of a call, and when it is due, s from the start."""

    at: float
    call: int
    event: Event


def even(load: Load, rate: float) -> Iterator[Due]:
    """The events of all calls in the order of their times, `rate` calls a second.

    Accepts are due between invites, so that not every commit has one of each.
    """
    invites, accepts = load.invites(), load.accepts()
    behind = int(ANSWER_S * rate) + 0.5
    ahead = min(load.calls, int(behind + 0.5))
    for call in range(ahead):
        yield Due(call / rate, call, next(invites))
    for call in range(load.calls):
        yield Due((call + behind) / rate, call, next(accepts))
        if call + ahead < load.calls:
            yield Due((call + ahead) / rate, call + ahead, next(invites))
