"""The calls: the actions of devices and callers, the expected effects, and the observed ones."""

from __future__ import annotations

import heapq
import itertools
import json
import random
import time
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from workers.lab.bench.call_history import ACCEPTED, CallHistory, Told

Json = dict[str, Any]
Event = tuple[str, Json]

USERS: Final = 300
DEVICES: Final = 3
_MANY: Final = 60  # devices of one user
_LONG_MS: Final = 100_000  # the server's death must not let an accepted call time out
_SHORT_MS: Final = 1_500
_TIMED_OUT: Final = ("DECLINED_BY_TIMEOUT", 408)
_BEFORE_S: Final = (0.05, 1.0)  # how long before the deadline an accept is just in time
_PLANS: Final = {"accept": 44, "race": 20, "deadline": 8, "decline": 14, "stop": 9, "silence": 5}
_ENDS: Final = {
    "accept": {ACCEPTED},
    "race": {ACCEPTED},
    # Its devices accept shortly before the deadline; if they are late, it may have timed out, for everybody concerned.
    "deadline": {ACCEPTED, _TIMED_OUT},
    "decline": {("DECLINED", 486)},
    "stop": {("DECLINED_BY_CREATOR", 487)},
    "silence": {_TIMED_OUT},
}
_SHORT: Final = frozenset({"deadline", "silence"})


@dataclass(slots=True)
class Call:
    """One call, as planned and as played."""

    number: int
    user: str
    plan: str
    published: float
    history: CallHistory
    reacted: bool = False
    invited_ms: int = 0
    accepted_ms: int = 0
    """When the invite and the first accept were published: the ms of the entry ids; 0: not yet."""
    excused: bool = False

    def early_ms(self) -> int:
        """How long before the deadline the first accept was published; 0 if unknown."""
        return (
            max(0, self.invited_ms + _SHORT_MS - self.accepted_ms)
            if self.accepted_ms and not self.excused
            else 0
        )

    def complete(self) -> bool:
        """Whether nothing more will come. A short call that was taken up too late rings nobody."""
        history = self.history
        return bool(history.ended and (history.rung or self.plan in _SHORT)) and history.answered()


class Calls:
    """Everybody around the workers."""

    def __init__(self, seed: int) -> None:
        self.open: dict[int, Call] = {}
        self.events = 0
        self.done = 0
        self.repeated = 0  # notifications that came more than once
        self.slowest_s = 0.0  # from an invite's XADD to its invitation
        self._random = random.Random(seed)
        self._next = 0
        self._over: dict[int, Call] = {}
        self._excused_until = 0.0
        self._serial = itertools.count()
        self._later: list[tuple[float, int, Event]] = []

    def registrations(self) -> list[Event]:
        """All devices."""
        return [
            ("registered", {"registry": {"id": device, "user": f"user-{user}"}})
            for user in range(USERS)
            for device in _devices(f"user-{user}")
        ]

    def begin(self) -> Event:
        """The invite of a new call."""
        number, self._next = self._next, self._next + 1
        plan = self._random.choices(list(_PLANS), list(_PLANS.values()))[0]
        user = f"user-{number % USERS}"
        call = Call(number, user, plan, time.monotonic(), CallHistory(_devices(user), _ENDS[plan]))
        call.excused = call.published < self._excused_until
        self.open[number] = call
        expires = _SHORT_MS if plan in _SHORT else _LONG_MS
        # One room for all calls of a user: a user who is busy only in the room that a call leads into still rings.
        room = f"room-of-{user}"
        return "invite", {**_caller(number), "to": user, "room": room, "expires": expires}

    def due(self) -> list[Event]:
        """The scheduled events that are due now."""
        events = []
        while self._later and self._later[0][0] <= time.monotonic():
            events.append(heapq.heappop(self._later)[2])
        return events

    def note_sent(self, event: Event, ms: int) -> None:
        """An event was published at this time, by the server's clock."""
        kind, payload = event
        call = self.open.get(_number(payload.get("inviteId", "")))
        if call is not None and kind == "invite":
            call.invited_ms = ms
        elif call is not None and kind == "accept" and not call.accepted_ms:
            call.accepted_ms = ms

    def excuse(self, for_s: float = 0.0) -> None:
        """For the open calls, and those of the next seconds, it is unknown which events are in time."""
        self._excused_until = max(self._excused_until, time.monotonic() + for_s)
        for call in self.open.values():
            call.excused = True

    def hear(self, identity: str, kind: str, peers: list[str], payload: Json) -> list[Event]:
        """Take in a notification; returns the reactions of devices and callers."""
        number = _number(payload.get("inviteId") or "")
        if number < 0:
            return []
        call = self.open.get(number) or self._over[number]
        reaction: list[Event] = []
        if kind == "invitation" and not call.reacted:
            call.reacted = True
            self.slowest_s = max(self.slowest_s, time.monotonic() - call.published)
            reaction = self._react(call)
            if call.plan == "deadline":
                at = time.monotonic() + payload["expiresIn"] / 1000 - self._random.uniform(*_BEFORE_S)
                for event in reaction:
                    heapq.heappush(self._later, (at, next(self._serial), event))
                reaction = []
        if not call.history.hear(identity, kind, peers, msgspec.convert(payload, Told)):
            self.repeated += 1
        if number in self.open and call.complete():
            self._over[number] = self.open.pop(number)
            self.done += 1
        return reaction

    def begin_again(self) -> None:
        """Forget all notifications, to read those that the server has kept.

        A primary's last notifications before it died may be lost, and its successor writes them again: that is no
        fault.
        """
        for call in (*self.open.values(), *self._over.values()):
            call.history = call.history.unheard()

    def check(self) -> list[str]:
        """All faults, in words. Call this when nothing is open any more."""
        calls = (*self.open.values(), *self._over.values())
        faults = [
            f"call {call.number} ({call.plan}): {fault.words}"
            for call in calls
            for fault in call.history.faults()
        ]
        return faults + [
            f"call {call.number}: an accept came {call.early_ms()} ms before the deadline, and it timed out"
            for call in calls
            if call.plan == "deadline"
            and call.early_ms()
            and [told.end for told in call.history.ended] == [_TIMED_OUT]
        ]

    def _react(self, call: Call) -> list[Event]:
        devices = _devices(call.user)
        if call.plan == "silence":
            return []
        if call.plan == "stop":
            caller = _caller(call.number)
            transaction = call.history.ask("stopInvite", caller["peer"]["id"])
            return [("stopInvite", {**caller, "callee": call.user, "transaction": transaction})]
        kind, acting = "accept", self._random.sample(devices, 2)
        if call.plan == "accept":
            acting = acting[:1]
        elif call.plan == "decline":
            kind, acting = "decline", devices
        return [(kind, self._answer(call, device, kind)) for device in acting]

    def _answer(self, call: Call, device: str, kind: str) -> Json:
        payload = {
            "peer": {"id": device, "user": call.user},
            "from": _caller(call.number)["peer"]["user"],
            "inviteId": f"call-{call.number}",
            "transaction": call.history.ask(kind, device),
        }
        return payload | ({"errorCode": 486} if kind == "decline" else {})


def _number(invite_id: str) -> int:
    number = invite_id.removeprefix("call-")
    return int(number) if number != invite_id and number.isdecimal() else -1


def encode(event: Event) -> dict[str, str]:
    """The fields of the entry."""
    return {"type": event[0], "payload": json.dumps(event[1])}


def _devices(user: str) -> list[str]:
    return [f"{user}-{device}" for device in range(_MANY if user == "user-0" else DEVICES)]


def _caller(number: int) -> Json:
    return {
        "peer": {"id": f"caller-{number}-0", "user": f"caller-{number}"},
        "inviteId": f"call-{number}",
    }
