"""A story: the steps of a few people of its own, each caused by a notification."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Generator, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from tests.chaos.calls import Event, Json
from tests.chaos.judge import BUSY, Case
from workers.lab.bench.call_history import End

Script = Generator[list[Event], None, None]
"""Yields the next events, and continues with each notification about its story."""

DEVICES: Final = (0, 1)
_RING_MS: Final = 100_000  # the death of a server must not let a call time out that is to be accepted


@dataclass
class Seat:
    """A few users of their own, who play one story after the other."""

    name: str
    connections: dict[str, int] = field(default_factory=dict)
    busy: dict[str, bool] = field(default_factory=dict)
    """The last notification to services about each user, by id."""

    def user(self, name: str) -> str:
        """The id of a user."""
        return f"{self.name}.{name}"

    def peer(self, user: str, device: int = 0) -> Json:
        """The present connection of a device."""
        hardware = f"{self.user(user)}-{device}"
        return {
            "id": f"{hardware}#{self.connections.get(hardware, 0)}",
            "user": self.user(user),
            "device": hardware,
        }

    def reconnect(self, user: str, device: int = 0) -> Json:
        """Let the device have another connection from now on."""
        hardware = f"{self.user(user)}-{device}"
        self.connections[hardware] = self.connections.get(hardware, 0) + 1
        return self.peer(user, device)

    def registered(self, user: str, device: int = 0, **more: Any) -> Event:
        """The registration of the present connection."""
        return "registered", {"registry": {**self.peer(user, device), **more}}


class Story:
    """One story on a seat. Its calls, rooms and requests have the names of letters."""

    def __init__(self, seat: Seat, number: int, rules: Json, chance: random.Random) -> None:
        self.seat = seat
        self.rules = rules
        self.chance = chance
        self.cases: dict[str, Case] = {}
        self.over = False
        self.wrong: list[Callable[[], Iterable[str]]] = []
        """Checks for the end, beyond those of each call."""
        self._prefix = f"{seat.name}.{number}"
        self._heard: set[str] = set()
        self._whenever: dict[str, Callable[[], list[Event]]] = {}
        self._callees: dict[str, tuple[str, str, str]] = {}
        self._script: Script | None = None

    # --- for scripts

    def invite(
        self, letter: str, by: Json, to: str, *ends: End, told_again: bool = False, **more: Any
    ) -> Event:
        """A new call, which ends in one of these ways."""
        found = {*ends, *((BUSY,) if self.rules["whenBusy"] == "reject" else ())}
        self.cases[letter] = Case(f"{self._prefix}{letter}", found, told_again=told_again)
        self._callees[letter] = (by["user"], to, by["id"])
        room = {"room": self.room(letter), "expires": _RING_MS}
        return "invite", {"peer": by, "to": to, "inviteId": f"{self._prefix}{letter}", **room, **more}

    def room(self, letter: str) -> str:
        """The room of a call."""
        return f"{self._prefix}{letter}"

    def ref(self, letter: str) -> str:
        """The ref of a call."""
        inviter, to, _ = self._callees[letter]
        return f"{inviter}|{self._prefix}{letter}|{to}"

    def say(
        self, kind: str, letter: str, peer: Json, codes: Collection[int] = (200, 410), **more: Any
    ) -> Event:
        """What a device answers to an invitation."""
        inviter, to, _ = self._callees[letter]
        transaction = self.cases[letter].ask(kind, peer["id"], codes)
        named = {"from": inviter, "to": to, "inviteId": f"{self._prefix}{letter}"}
        return kind, {"peer": peer, **named, "transaction": transaction, **more}

    def stop(self, letter: str, by: Json) -> Event:
        """The inviter gives up."""
        transaction = self.cases[letter].ask("stopInvite", by["id"], (200, 410))
        named = {"callee": self._callees[letter][1], "inviteId": f"{self._prefix}{letter}"}
        return "stopInvite", {"peer": by, **named, "transaction": transaction}

    def joined(self, user: str, letter: str, peer: Json | None = None) -> Event:
        """A user enters a room."""
        payload = {"userId": self.seat.user(user), "roomId": self.room(letter)}
        return "joined", payload | ({"peer": peer} if peer else {})

    def left(self, user: str, letter: str) -> Event:
        """A user leaves a room."""
        return "left", {"userId": self.seat.user(user), "roomId": self.room(letter)}

    def wait(self, events: list[Event], *marks: str) -> Script:
        """Publish, then wait until all of these are heard: `<type> <letter of the call or room> [<peer>]`.

        Once a call is over, nobody waits for anything else of it.
        """
        yield events
        while not all(self._heard_or_over(mark) for mark in marks):
            yield []

    def answered(self, event: Event) -> str:
        """The mark of the answer to a request."""
        letter = event[1]["inviteId"][-1]
        return f"answer {letter} {event[1]['transaction']}"

    def whenever(self, mark: str, events: Callable[[], list[Event]]) -> None:
        """Publish something as soon as this is read, wherever the story is by then."""
        self._whenever[mark] = events

    # --- for the one that plays them

    def begin(self, script: Callable[[Story], Script]) -> list[Event]:
        """Begin; returns what is published first."""
        self._script = self._played(script)
        return next(self._script)

    def hear(self, marks: list[str]) -> list[Event]:
        """A notification with these marks was read; returns the events that it causes."""
        published = []
        for mark in marks:
            if mark not in self._heard and mark in self._whenever:
                published += self._whenever[mark]()
        self._heard.update(marks)
        while self._script is not None and not self.over and (events := next(self._script, [])):
            published += events
        return published

    def rest(self) -> None:
        """Stop reacting."""
        self.over = True
        self._whenever.clear()

    def unfinished(self) -> bool:
        """Whether the story is not over."""
        return not (self.over and all(case.complete() for case in self.cases.values()))

    def faults(self) -> Iterator[str]:
        """All faults, in words."""
        for case in self.cases.values():
            yield from case.faults()
        for ask in self.wrong:
            yield from (f"{self._prefix}: {fault}" for fault in ask())

    def _played(self, script: Callable[[Story], Script]) -> Script:
        yield from script(self)
        while not all(case.complete() for case in self.cases.values()):
            yield []
        # A user who accepted and never joined is busy for 30 s, unless it leaves.
        leave: list[Event] = [
            ("left", {"userId": user, "roomId": self.room(letter)})
            for letter, (inviter, callee, _) in self._callees.items()
            for user in (inviter, callee)
        ]
        close: list[Event] = [("roomClosed", {"roomId": self.room(letter)}) for letter in self._callees]
        yield from self.wait(leave + close, *(f"roomCleaned {letter}" for letter in self._callees))
        while any(self.seat.busy.values()):
            yield []
        self.over = True

    def _heard_or_over(self, mark: str) -> bool:
        kind, letter = mark.split()[:2]
        case = self.cases.get(letter)
        return mark in self._heard or (kind == "invitation" and case is not None and bool(case.records))
