"""The trials: calls in which an accept and something else happen at the same moment."""

from __future__ import annotations

import random
from typing import Final

import msgspec

from workers.lab.bench.call_history import ACCEPTED, CallHistory, Fault, Told
from workers.lab.bench.load import Event

DEVICES: Final = 3
RING_MS: Final = 500
"""Ring time of a trial against the time-out. The other trials ring until the benchmark ends."""

_LONG_MS: Final = 3_600_000
_EARLY: Final = 0.2  # share of the cancels that come together with the invite

OPPONENTS: Final = {
    "accept": ACCEPTED,
    "cancel": ("DECLINED_BY_CREATOR", 487),
    "timeout": ("DECLINED_BY_TIMEOUT", 408),
    "decline": ("DECLINED", 603),
    "disconnect": ("DECLINED", 480),
}
"""The opponents of an accept, and how the call ends when the opponent wins."""

ONCE_ONLY: Final = frozenset({"disconnect"})
"""Opponents for users without earlier calls: a device that returns is told the end of all its calls."""

_encode = msgspec.json.encode


class Trial:
    """One call to `user`, whose devices are registered and who has no other call meanwhile (see `ONCE_ONLY`)."""

    __slots__ = ("_caller", "_id", "_rung", "history", "lost", "number", "opponent", "user")

    def __init__(self, number: int, user: str, opponent: str) -> None:
        self.number = number
        self.user = user
        self.opponent = opponent
        self.history = CallHistory(devices(user), {ACCEPTED, OPPONENTS[opponent]})
        self.lost: list[str] = []
        self._id = f"trial-{number}"
        self._caller = {"id": f"caller-of-{user}-0", "user": f"caller-of-{user}"}
        self._rung = False

    def begin(self) -> list[Event]:
        """The first events: the invite, and sometimes the caller's cancel."""
        invite = {
            "peer": self._caller,
            "to": self.user,
            "inviteId": self._id,
            "room": f"room-{self.number}",
            "expires": RING_MS if self.opponent == "timeout" else _LONG_MS,
        }
        events = [("invite", _encode(invite))]
        if self.opponent == "cancel" and random.random() < _EARLY:
            events.append(self._stop())
            random.shuffle(events)
        return events

    def hear(self, identity: str, kind: str, peers: list[str], told: Told) -> list[Event]:
        """Take in a notification; the first invitation returns the events of the race.

        Against the time-out, the accept must be published shortly before the deadline.
        """
        self.history.hear(identity, kind, peers, told)
        if kind != "invitation" or self._rung:
            return []
        self._rung = True
        return self._race()

    def return_lost(self) -> list[Event]:
        """The registrations of the lost devices."""
        return [_registration(self.user, peer) for peer in self.lost]

    def faults(self) -> list[Fault]:
        """What went wrong. Call this when nothing more can come."""
        return [
            Fault(wrong, f"{self._id} ({self.opponent}): {words}") for wrong, words in self.history.faults()
        ]

    def accepted(self) -> bool:
        """Whether the accept won."""
        return any(record.end == ACCEPTED for record in self.history.ended)

    def _race(self) -> list[Event]:
        first, second, third = random.sample(devices(self.user), DEVICES)
        events = [self._reply("accept", first)]
        if self.opponent == "accept":
            # The first device sends its accept twice, as a device that got no answer does.
            events += [
                self._reply("accept", second),
                self._reply("accept", third),
                self._reply("accept", first),
            ]
        elif self.opponent == "cancel":
            events.append(self._stop())
        elif self.opponent == "decline":
            events.append(self._reply("decline", second, errorCode=603))
        elif self.opponent == "disconnect":
            gone = random.choice([(first,), (second, third), (first, second, third)])
            events += [self._lose(peer) for peer in gone]
        random.shuffle(events)
        return events

    def _reply(self, kind: str, peer: str, **rest: int) -> Event:
        payload = {
            "peer": {"id": peer, "user": self.user},
            "from": self._caller["user"],
            "inviteId": self._id,
            "transaction": self.history.ask(kind, peer),
            **rest,
        }
        return kind, _encode(payload)

    def _stop(self) -> Event:
        payload = {
            "peer": self._caller,
            "callee": self.user,
            "inviteId": self._id,
            "transaction": self.history.ask("stopInvite", self._caller["id"]),
        }
        return "stopInvite", _encode(payload)

    def _lose(self, peer: str) -> Event:
        self.lost.append(peer)
        self.history.lose(peer)
        return "disconnected", _encode({"peer": {"id": peer, "user": self.user}})


def devices(user: str) -> list[str]:
    """The peers of a user."""
    return [f"{user}-{number}" for number in range(DEVICES)]


def registrations(user: str) -> list[Event]:
    """The registrations of a user's devices."""
    return [_registration(user, peer) for peer in devices(user)]


def _registration(user: str, peer: str) -> Event:
    return "registered", _encode({"registry": {"id": peer, "user": user}})
