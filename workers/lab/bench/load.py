"""The load: a backlog of events that make complete calls.

A complete call is an invite to a user with several registered devices, one of which accepts. The backlog consists of
waves: some invites, then their accepts in the same order. So each accept follows one wave after its invite.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

Event = tuple[str, bytes]
"""The fields `type` and `payload`."""

CALLEES: Final = 1000
EVENTS_PER_CALL: Final = 2
_CONTEXT_BYTES: Final = 100
_WAVE: Final = 1000
# The ring time of every call here: events wait longer in a backlog than calls usually ring.
RING_MS: Final = 3_600_000

_encode = msgspec.json.encode


class Load(msgspec.Struct, frozen=True):
    """The number of calls, of devices of each callee, of workers, and of callees."""

    calls: int
    devices: int
    workers: int
    callees: int = CALLEES
    name: str = ""
    """Prefix of the ids; tells loads on one server apart."""
    all_pending: bool = False
    """All invites come before the first accept, as with several workers."""

    @property
    def events(self) -> int:
        """The length of the backlog."""
        return self.calls * EVENTS_PER_CALL

    @property
    def parts(self) -> list[Iterator[Event]]:
        """The backlog in parts, each of which is published once all before it are settled.

        With several workers the accepts are a part of their own: a worker that the machine suspends falls behind the
        others by any number of events, and no accept may be settled before its invite.
        """
        return [self.invites(), self.accepts()] if self._invites_first else [self.backlog()]

    @property
    def wave(self) -> int:
        """The largest number of invites that are pending at the same time. With several workers it is all of them."""
        return max(_WAVE, self.calls) if self._invites_first else _WAVE

    @property
    def _invites_first(self) -> bool:
        return self.workers > 1 or self.all_pending

    def registrations(self) -> Iterator[Event]:
        """The devices of all callees."""
        for user in range(min(self.callees, self.calls)):
            for device in range(self.devices):
                peer = self._peer(user, device)
                registry = {"id": peer, "user": self._callee(user), "device": f"hardware-{peer}"}
                yield "registered", _encode({"registry": registry})

    def backlog(self) -> Iterator[Event]:
        """All invites and accepts."""
        for first in range(0, self.calls, self.wave):
            wave = range(first, min(first + self.wave, self.calls))
            yield from (("invite", self._invite(call)) for call in wave)
            yield from (("accept", self._accept(call)) for call in wave)

    def invites(self) -> Iterator[Event]:
        """All invites, without accepts."""
        return (("invite", self._invite(call)) for call in range(self.calls))

    def accepts(self) -> Iterator[Event]:
        """The accepts of all invites, in the same order."""
        return (("accept", self._accept(call)) for call in range(self.calls))

    def _invite(self, call: int) -> bytes:
        caller = self._caller(call)
        return _encode(
            {
                "peer": {"id": f"{caller}-0", "user": caller},
                "to": self._callee(call),
                "inviteId": f"call-{call}",
                "room": f"{self.name}room-{call}",
                "context": _CONTEXT,
                "expires": RING_MS,
            }
        )

    def _accept(self, call: int) -> bytes:
        return _encode(
            {
                "peer": {"id": self._peer(call, call % self.devices), "user": self._callee(call)},
                "from": self._caller(call),
                "inviteId": f"call-{call}",
            }
        )

    def _callee(self, call: int) -> str:
        return f"{self.name}callee-{call % self.callees}"

    def _caller(self, call: int) -> str:
        # Nobody calls the same user again: that would replace the call before, if it is still pending.
        return f"{self.name}caller-{(call + call // self.callees) % self.callees}"

    def _peer(self, call: int, device: int) -> str:
        return f"{self._callee(call)}-{device}"


def _context() -> dict[str, str]:
    frame = len(_encode({"subject": ""}))
    return {"subject": "x" * (_CONTEXT_BYTES - frame)}


_CONTEXT: Final = _context()
