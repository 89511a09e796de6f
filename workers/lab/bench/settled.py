"""Tells when nothing more can come of an event."""

from __future__ import annotations

from collections import deque

from invites.keys import WORKERS_GROUP
from workers.lab.bench.connection import pack
from workers.lab.bench.target import Target

EntryId = tuple[int, int]


class Settled:
    """The last event up to which all events are settled and all their notifications have been read."""

    def __init__(self, target: Target) -> None:
        self.up_to: EntryId = (0, 0)
        self._target = target
        self._ahead: deque[tuple[EntryId, EntryId]] = deque()

    def look(self) -> None:
        """Ask the server. In this order an entry that is delivered meanwhile shows up as pending or settled."""
        keys = self._target.keys
        (group,), pending, last = self._target.send(
            [
                pack("XINFO", "GROUPS", keys.events),
                pack("XPENDING", keys.events, WORKERS_GROUP),
                pack("XREVRANGE", keys.notifications, "+", "-", "COUNT", 1),
            ]
        )
        settled = entry_id(group[group.index(b"last-delivered-id") + 1])
        if pending[0]:
            ms, number = entry_id(pending[1])
            settled = min(settled, (ms, number - 1))
        self._ahead.append((settled, entry_id(last[0][0]) if last else (0, 0)))

    def heard(self, last: EntryId) -> None:
        """Note that all notifications up to this one have been read."""
        while self._ahead and self._ahead[0][1] <= last:
            self.up_to = self._ahead.popleft()[0]


def entry_id(text: bytes) -> EntryId:
    """The two numbers of a stream entry's id."""
    ms, _, number = text.partition(b"-")
    return int(ms), int(number)
