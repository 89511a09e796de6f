"""Checks the notifications of calls to groups and to phones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from invites.sippo import PushJob
from tests.chaos.calls import Event
from workers.lab.bench.call_history import ACCEPTED, CallHistory, Told

_ENDS = {"accept": ACCEPTED, "stop": ("DECLINED_BY_CREATOR", 487)}


@dataclass
class Call:
    """One call: its expected end, and its notifications."""

    invite_id: str
    to: str
    ending: str
    winner: str = ""
    told: set[str] = field(default_factory=set)
    late: list[str] = field(default_factory=list)
    history: CallHistory = field(init=False)

    def __post_init__(self) -> None:
        self.history = CallHistory(ends={_ENDS[self.ending]}, in_order=False)

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.invite_id} ({self.ending})"


class Heard:
    """All notifications, by call."""

    def __init__(self) -> None:
        self.calls: dict[str, Call] = {}
        self.notifications = 0

    def begin(self, calls: Iterable[Call]) -> None:
        """Calls that are about to be made."""
        self.calls |= {call.invite_id: call for call in calls}

    def begin_again(self) -> None:
        """Forget all notifications, to read those that the servers have kept."""
        for call in self.calls.values():
            call.history, call.late = call.history.unheard(), []

    def hear(self, identity: str, kind: str, peers: list[str], payload: dict[str, Any]) -> list[Event]:
        """Take in a notification; nobody reacts to it."""
        self.notifications += 1
        call = self.calls[payload["inviteId"]]
        call.told.add(kind)
        if kind == "invitationCancel":
            peers = self._not_late(call, peers)
            if not peers:
                return []
        call.history.hear(identity, kind, peers, msgspec.convert(payload, Told))
        return []

    def check(self, pushes: Sequence[PushJob]) -> list[str]:
        """The faults, at the end, of the notifications and of the accepted pushes."""
        faults = [
            f"{call.name}: {fault.words}" for call in self.calls.values() for fault in call.history.faults()
        ]
        faults += [
            f"{call.name}: the phone was told of the end {len(call.late)} times"
            for call in self.calls.values()
            if len(call.late) > 1
        ]
        return faults + self._still_ringing(pushes)

    def _not_late(self, call: Call, peers: list[str]) -> list[str]:
        """Those that stop ringing. A pushed phone that registers after the end is told, too, once."""
        late = [peer for peer in peers if peer.endswith("-peer") and peer not in call.history.rung]
        call.late += late
        return [peer for peer in peers if peer not in late]

    def _still_ringing(self, pushes: Sequence[PushJob]) -> list[str]:
        """Every pushed phone except the winner must have been told to stop; the last push is the end."""
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
