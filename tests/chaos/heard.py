"""What was told of calls to groups and to phones, and what must hold of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from invites.sippo import PushJob
from tests.chaos.calls import Event


@dataclass
class Call:
    """One call: how it is to end, and what was told of it."""

    invite_id: str
    to: str
    ending: str
    winner: str = ""
    rung: Counter[str] = field(default_factory=Counter)
    stopped: Counter[str] = field(default_factory=Counter)
    told: Counter[str] = field(default_factory=Counter)
    codes: Counter[int] = field(default_factory=Counter)

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.invite_id} ({self.ending})"


class Heard:
    """All that was told, by call."""

    def __init__(self) -> None:
        self.calls: dict[str, Call] = {}
        self._identities: Counter[str] = Counter()

    @property
    def notifications(self) -> int:
        """How many different ones there were."""
        return len(self._identities)

    def begin(self, calls: Iterable[Call]) -> None:
        """Calls that are about to be made."""
        self.calls |= {call.invite_id: call for call in calls}

    def hear(self, identity: str, kind: str, peers: list[str], payload: dict[str, Any]) -> list[Event]:
        """Take in a notification; nobody does anything because of it."""
        self._identities[identity] += 1
        call = self.calls.get(payload.get("inviteId", ""))
        if call is not None:
            call.told[kind] += 1
            if kind == "answer":
                call.codes[payload["code"]] += 1
            if kind in {"invitation", "invitationCancel"}:
                (call.rung if kind == "invitation" else call.stopped).update(peers)
        return []

    def check(self, pushes: Sequence[PushJob]) -> list[str]:
        """What is wrong, in the end, with what was told and with the pushes that were taken."""
        faults = [f"notification {name} came twice" for name, count in self._identities.items() if count > 1]
        for call in self.calls.values():
            faults += _wrong_with(call)
        return faults + self._still_ringing(pushes)

    def _still_ringing(self, pushes: Sequence[PushJob]) -> list[str]:
        """Whoever was pushed and is not the phone that won must have been told to stop; the last word is the end."""
        last = {(job.collapse_id, job.device): job.type for job in pushes}
        winners = {
            f"alice|{call.invite_id}|{call.to}"
            for call in self.calls.values()
            if call.winner.endswith("-peer")
        }
        return [
            f"{ref} goes on ringing at {device}"
            for (ref, device), kind in last.items()
            if kind == "invitation" and ref not in winners
        ]


def _wrong_with(call: Call) -> list[str]:
    faults = []
    outcome = "inviteAccepted" if call.ending == "accept" else "inviteRejected"
    wanted = {"INVITE_COMPLETED": 1, outcome: 1, "answer": 1}
    if {kind: call.told[kind] for kind in wanted} != wanted or call.codes != {200: 1}:
        faults.append(f"{call.name} should have told {wanted}, it told {call.told}, answers {call.codes}")
    if max((call.rung | call.stopped).values(), default=0) > 1:
        faults.append(f"{call.name} rang or stopped somebody twice")
    ringing = set(call.rung) - set(call.stopped) - {call.winner}
    if ringing or call.stopped[call.winner]:
        faults.append(f"{call.name} goes on ringing at {ringing}, or has stopped its winner")
    return faults
