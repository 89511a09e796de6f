"""Plays the stories in parallel, and reads for all of them."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from typing import Final

from tests.chaos.calls import Event, Json
from tests.chaos.scripts import SCRIPTS, plain, registrations
from tests.chaos.story import Script, Seat, Story

_SEATS: Final = 4  # of each script
_ALL: Final = 2**40  # bytes
_NAME: Final = re.compile(r"([a-z]+-\d+)\.(\d+)([a-z])")


def rules(seed: int) -> Json:
    """`invites` of the workers' configuration: settings that change the outcome of a story, drawn by the seed."""
    chance = random.Random(seed)
    return {
        "basic": {"removeAfter": 3_000},
        "glare": chance.choice(("merge", "merge", "off")),
        "whenBusy": chance.choice(("ring", "waiting", "reject")),
        "trackBusy": True,
        "limits": {"perPair": 1_000},  # constant redialling would exceed the default
        "notificationRetention": {"bytes": _ALL},  # they are read again at the end
    }


class Stories:
    """All stories. `go_on` says whether another one begins on a seat whose story is over."""

    def __init__(self, seed: int, settings: Json) -> None:
        self.done = 0
        self.repeated = 0
        self.go_on = True
        self._settings = settings
        self._chance = random.Random(seed)
        self._seats = {
            name: Seat(name) for name in (f"{kind}-{number}" for kind in SCRIPTS for number in range(_SEATS))
        }
        self._told: dict[str, Story] = {}
        self._playing: dict[str, Story] = {}

    def registrations(self) -> list[Event]:
        """All devices of all seats."""
        return [event for seat in self._seats.values() for event in registrations(seat)]

    def begin(self) -> list[Event]:
        """Begin a story on each seat that has none."""
        events = []
        for name in self._seats.keys() - self._playing.keys() if self.go_on else ():
            events += self._begin(name, SCRIPTS[name.partition("-")[0]])
        return events

    def begin_last(self) -> list[Event]:
        """Once all is over: a last call to each Bob, who must be as reachable as before."""
        return [event for name in self._seats for event in self._begin(name, plain)]

    def open(self) -> list[str]:
        """The stories that are not over."""
        return [name for name, story in self._told.items() if story.unfinished()]

    def hear(self, identity: str, kind: str, peers: list[str], payload: Json) -> list[Event] | None:
        """Take in a notification; returns people's reactions, None if it is about no story."""
        found = _NAME.fullmatch(
            payload.get("inviteId") or payload.get("room") or payload.get("roomId") or "-"
        )
        if found is None or found[1] not in self._seats:
            return None
        seat, letter = self._seats[found[1]], found[3]
        _note_busy(seat, kind, payload)
        story = self._told[found[1] + "." + found[2]]
        case = story.cases.get(letter)
        if case is not None and "inviteId" in payload and not case.hear(identity, kind, peers, payload):
            self.repeated += 1
        who = [str(payload.get("transaction"))] if kind == "answer" else peers
        events = self._go_on(story, [f"{kind} {letter}", *(f"{kind} {letter} {one}" for one in who)])
        # A late notification about a room of an earlier story may be what the present one waits for.
        present = self._playing.get(seat.name)
        return events + self._go_on(present, []) if present and present is not story else events

    def forget_busy(self) -> None:
        """Forget who is busy, to learn it again by `hear_busy`."""
        for seat in self._seats.values():
            seat.busy.clear()

    def hear_busy(self, _identity: str, kind: str, _peers: list[str], payload: Json) -> list[Event]:
        """Learn from a notification who is busy, and nothing else."""
        found = _NAME.fullmatch(payload.get("room") or payload.get("roomId") or "-")
        if found is not None and found[1] in self._seats:
            _note_busy(self._seats[found[1]], kind, payload)
        return []

    def go_on_all(self) -> list[Event]:
        """The reactions of people who waited for something that has been learned in another way."""
        return [event for story in list(self._playing.values()) for event in self._go_on(story, [])]

    def begin_again(self) -> None:
        """Forget all notifications, to read those that the servers have kept; nobody reacts any more."""
        self.forget_busy()
        for story in self._told.values():
            story.rest()
            for case in story.cases.values():
                case.forget()

    def check(self) -> list[str]:
        """All faults, in words."""
        faults = [fault for story in self._told.values() for fault in story.faults()]
        busy = [user for seat in self._seats.values() for user, is_busy in seat.busy.items() if is_busy]
        return faults + [f"{user} is busy for ever" for user in busy]

    def _go_on(self, story: Story, marks: list[str]) -> list[Event]:
        events = story.hear(marks)
        if story.over and self._playing.get(story.seat.name) is story:
            del self._playing[story.seat.name]
            self.done += 1
        return events

    def _begin(self, name: str, script: Callable[[Story], Script]) -> list[Event]:
        seat = self._seats[name]
        number = len(self._told)
        story = Story(seat, number, self._settings, self._chance)
        self._told[f"{name}.{number}"] = self._playing[name] = story
        return story.begin(script)


def _note_busy(seat: Seat, kind: str, payload: Json) -> None:
    if kind in {"userBusy", "userFree"}:
        seat.busy[payload["userId"]] = kind == "userBusy"
