"""What an open load publishes and when: calls at an even rate, whatever becomes of those before."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from workers.lab.bench.load import Event, Load

ANSWER_S: Final = 0.1
"""A call is accepted so long after its invite was due. (People take seconds; so many more calls would be pending.)"""


class Due(NamedTuple):
    """An event of a call, and when it is due: s from the start."""

    at: float
    call: int
    event: Event


def even(load: Load, rate: float) -> Iterator[Due]:
    """The events of all calls of the load in the order in which they are due, `rate` calls a second.

    The accepts fall between the invites, so that not every commit has one of each.
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
