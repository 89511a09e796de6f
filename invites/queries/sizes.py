"""Estimates the server's memory that an installation needs, from the size of each thing.

The figures are bytes, measured on Valkey 9 with ids of 10 to 40 characters; `tests/integration/test_size.py` measures
them again. They include keys, tables and times to live; small things vary by a third with how full the tables are.
"""

from __future__ import annotations

from typing import Final

import msgspec

USER: Final = 206
"""A user with registrations; each `DEVICE` comes on top."""
DEVICE: Final = 243
PENDING: Final = 1_055
"""A pending invite; each `CANDIDATE` comes on top."""
CANDIDATE: Final = 35
FINISHED: Final = 385
"""An ended invite while it is readable; each `FINISHED_CANDIDATE` comes on top."""
FINISHED_CANDIDATE: Final = 85
GONE: Final = 310
"""The mark of a guest's connection that has ended."""
GONE_DEVICE: Final = 840
"""The same of a registered device, with the marks of the device and of its user."""
STORY: Final = 60
"""The story of a pending invite."""
STORY_FINISHED: Final = 140
"""That of an ended one; each `STORY_CANDIDATE` comes on top."""
STORY_CANDIDATE: Final = 20
LEFT: Final = 200
"""The mark that a user has left a room."""
CLOSED: Final = 170
"""The mark that a room is closed."""

_MINUTE: Final = 60.0
_HOUR: Final = 3_600.0


class Part(msgspec.Struct, frozen=True):
    """One line of an estimate: what it is, how many there are at a time, and the bytes of all of them."""

    what: str
    count: float
    bytes: float


class Installation(msgspec.Struct, frozen=True, kw_only=True):
    """What an installation carries.

    `rate`: calls a second. `devices`: registered devices in all; a user, and a call, has `per_user` of them. A call
    rings for `ring_s` (s). The others are settings (ms).
    """

    rate: float
    devices: int
    per_user: int
    ring_s: float
    retain_after: int
    ring_timeout: int
    caller_grace: int
    remove_after: int
    story: bool = True

    @property
    def readable_s(self) -> float:
        """For how long an ended call is kept: at least for a minute, and until its deadline."""
        return max(self.retain_after / 1000, _MINUTE, self.ring_timeout / 1000 - self.ring_s)

    @property
    def marks_s(self) -> float:
        """For how long the order of events is kept."""
        return max(_HOUR, self.caller_grace / 1000 + _MINUTE, self.remove_after / 1000 + _MINUTE)

    def parts(self) -> list[Part]:
        """The lines of the estimate, without the streams."""
        users, pending = self.devices / self.per_user, self.rate * self.ring_s
        finished, marks = self.rate * self.readable_s, self.rate * self.marks_s
        return [
            Part("registered devices", self.devices, users * USER + self.devices * DEVICE),
            Part("ringing calls", pending, pending * (PENDING + self.per_user * CANDIDATE)),
            Part("ended calls", finished, finished * (FINISHED + self.per_user * FINISHED_CANDIDATE)),
            Part("calls whose order is kept", marks, marks * (GONE + 2 * LEFT + CLOSED)),
            *([self._stories(pending, finished)] if self.story else []),
        ]

    def _stories(self, pending: float, finished: float) -> Part:
        ended = STORY_FINISHED + self.per_user * STORY_CANDIDATE
        return Part("stories of calls", pending + finished, pending * STORY + finished * ended)
