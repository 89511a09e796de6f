"""People who continue while servers fail over, and repeat themselves, because the replica lacks some events.

A caller repeats its invite until it gets the outcome, a device its accept until it gets an answer, as clients do.
So each call must end once, with one winner, and ring nowhere, whatever the servers have lost.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from tests.chaos.calls import Event, Json
from workers.lab.bench.call_history import ACCEPTED

_PEOPLE: Final = 60
_DEVICES: Final = 2
_RING_MS: Final = 100_000
_PATIENCE_S: Final = 1.5


@dataclass
class _Call:
    """One call; `due` is when somebody repeats an event that has had no effect."""

    number: int
    user: int
    due: float = 0.0
    ringing: set[str] = field(default_factory=set)
    over: bool = False
    # What the servers have kept.
    records: list[Json] = field(default_factory=list)
    last: dict[str, str] = field(default_factory=dict)
    winners: set[str] = field(default_factory=set)
    outcomes: set[int] = field(default_factory=set)


class Persistent:
    """Calls of people who repeat themselves."""

    def __init__(self, seed: int) -> None:
        self.done = 0
        self.repeated = 0  # repeats are not counted, since everybody repeats
        self.go_on = True
        self._random = random.Random(seed)
        self._calls: dict[int, _Call] = {}
        self._open: dict[int, _Call] = {}
        self._identities: Counter[str] = Counter()

    def registrations(self) -> list[Event]:
        """All devices."""
        return [
            ("registered", {"registry": {"id": device, "user": f"firm-{user}"}})
            for user in range(_PEOPLE)
            for device in _devices(user)
        ]

    def begin(self) -> list[Event]:
        """A call to each user that has none, and the repeats that are due."""
        now, events = time.monotonic(), []
        for user in range(_PEOPLE) if self.go_on else ():
            if user not in self._open:
                self._open[user] = self._calls[len(self._calls)] = _Call(len(self._calls), user)
        for call in self._open.values():
            if call.due <= now:
                call.due = now + _PATIENCE_S
                # A device that nobody has answered may have registered in vain, too.
                events += [_invite(call), *(_accept(call, device) for device in call.ringing)]
        return events

    def begin_last(self) -> list[Event]:
        """Begin no more calls."""
        return []

    def open(self) -> list[str]:
        """The calls that are not over."""
        return [f"firm call {call.number}" for call in self._open.values()]

    def hear(self, identity: str, kind: str, peers: list[str], payload: Json) -> list[Event] | None:
        """Take in a notification; returns people's reactions, None if it is about none of these calls."""
        invite_id = payload.get("inviteId") or ""
        if not invite_id.startswith("firm-"):
            return None
        self._identities[identity] += 1
        call = self._calls[int(invite_id.removeprefix("firm-"))]
        events: list[Event] = []
        if kind == "invitation":
            call.last |= dict.fromkeys(peers, kind)
            call.ringing |= {self._random.choice(peers)}
            events = [_accept(call, device) for device in call.ringing] if not call.over else []
        elif kind == "invitationCancel":
            call.last |= dict.fromkeys(peers, kind)
            call.ringing -= set(peers)
        elif kind == "answer":
            call.ringing -= set(peers)
            if payload["code"] == ACCEPTED[1]:
                call.winners |= set(peers)
        elif kind in ("inviteAccepted", "inviteRejected"):
            call.outcomes.add(payload["code"])
            if not call.over:
                call.over = True
                self.done += 1
                self._open.pop(call.user, None)
        elif kind == "INVITE_COMPLETED":
            call.records.append(payload)
        return events

    def begin_again(self) -> None:
        """Forget what was heard, to hear what the servers have kept."""
        self._identities.clear()
        for call in self._calls.values():
            call.over = True
            call.records, call.last, call.winners, call.outcomes = [], {}, set(), set()

    def check(self) -> list[str]:
        """All faults, in words."""
        faults = [f"notification {each} came twice" for each, count in self._identities.items() if count > 1]
        for call in self._calls.values():
            # Everything that an end leaves may be lost together: the caller has still received the outcome.
            ringing = [device for device, kind in call.last.items() if kind == "invitation"]
            if len(call.records) > 1:
                faults.append(f"firm call {call.number}: there are {len(call.records)} records")
            if len(call.winners) > 1:
                faults.append(f"firm call {call.number}: {', '.join(sorted(call.winners))} have all won")
            if call.records and set(ringing) - call.winners:
                faults.append(f"firm call {call.number}: {', '.join(ringing)} rings for ever")
            if len(call.outcomes) > 1:
                faults.append(f"firm call {call.number}: the inviter was told {call.outcomes}")
        return faults


def _devices(user: int) -> list[str]:
    return [f"firm-{user}-{device}" for device in range(_DEVICES)]


def _invite(call: _Call) -> Event:
    peer = {"id": f"of-firm-{call.number}", "user": f"of-firm-{call.number}"}
    named = {"to": f"firm-{call.user}", "inviteId": f"firm-{call.number}", "room": f"firm-{call.user}"}
    return "invite", {"peer": peer, **named, "expires": _RING_MS}


def _accept(call: _Call, device: str) -> Event:
    peer = {"id": device, "user": f"firm-{call.user}"}
    named = {"from": f"of-firm-{call.number}", "inviteId": f"firm-{call.number}"}
    return "accept", {"peer": peer, **named, "transaction": f"{call.number}-{device}"}
