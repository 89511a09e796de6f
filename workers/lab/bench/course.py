"""What was told of one call, and what is wrong with that, whatever the call was meant to be."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Final, NamedTuple

import msgspec

_WON: Final = 200
_OVER: Final = 410


class Wrong(StrEnum):
    """What can be wrong."""

    DOUBLE_WINNER = "double_winners"
    """More than one device has the call, or one has a call that ended otherwise."""
    LOST_CANCEL = "lost_cancels"
    """A device that rang was not told to stop."""
    GHOST_RING = "ghost_rings"
    """A device was told to ring after the call was over, or rings for a call that does not end."""
    MISSING_RECORD = "missing_records"
    DUPLICATE = "duplicate_notifications"
    """The same was told twice: one notification, one answer, one outcome, one record."""
    OTHER = "others"


class Fault(NamedTuple):
    """One thing that is wrong, in words."""

    wrong: Wrong
    words: str


class _Candidate(msgspec.Struct):
    peer: str
    end_reason: int = msgspec.field(name="endReason", default=0)


class Told(msgspec.Struct):
    """What a course looks at in a payload."""

    call: str = msgspec.field(name="inviteId", default="")
    transaction: str | int | None = None
    code: int = 0
    peer: str | None = None
    state: str = ""
    error: int = 0
    candidates: list[_Candidate] | int = []


class Course:
    """The notifications of one call, in the order of the stream.

    Beside them it is told what the devices have done: what was asked (each request has to be answered once), and who
    was lost and came back after the end (such a device is told to stop then, maybe for the second time).
    """

    __slots__ = ("_answers", "_ids", "_lost", "_noted", "_outcomes", "ended", "ringing", "rung", "stopped")

    def __init__(self) -> None:
        self.rung: list[str] = []
        self.ringing: set[str] = set()
        self.stopped: list[str] = []
        self.ended: list[Told] = []
        """The records."""
        self._ids: set[str] = set()
        self._lost: set[str] = set()
        self._answers: dict[str, tuple[str, str, list[int]]] = {}
        self._outcomes: list[Told] = []
        self._noted: list[Fault] = []

    def ask(self, request: str, peer: str) -> str:
        """A peer asks for something; returns the transaction that its answer has to carry."""
        transaction = str(len(self._answers))
        self._answers[transaction] = request, peer, []
        return transaction

    def lose(self, peer: str) -> None:
        """A device is lost; it comes back when the call is over."""
        self._lost.add(peer)

    def hear(self, identity: str, kind: str, peers: Sequence[str], told: Told) -> None:
        """A notification has come."""
        if identity in self._ids:
            self._note(Wrong.DUPLICATE, f"notification {identity} came twice")
        self._ids.add(identity)
        if kind == "invitation":
            self._ring(peers)
        elif kind == "invitationCancel":
            self._stop(peers)
        elif kind == "INVITE_COMPLETED":
            self.ended.append(told)
        elif kind in ("inviteAccepted", "inviteRejected"):
            self._outcomes.append(told)
        elif kind == "answer":
            self._answer(told)

    def unheard(self) -> Course:
        """A course of which the same is known, and nothing was told yet."""
        course = Course()
        course._lost |= self._lost
        course._answers = {name: (asked, peer, []) for name, (asked, peer, _) in self._answers.items()}
        return course

    def answered(self) -> bool:
        """Whether everything that was asked has an answer."""
        return all(codes for _, _, codes in self._answers.values())

    def codes(self, request: str) -> list[int]:
        """The codes of all answers to requests of one kind, in order of their number."""
        return sorted(
            code for asked, _, codes in self._answers.values() if asked == request for code in codes
        )

    def faults(self) -> list[Fault]:
        """All that is wrong; to be asked when nothing more can come."""
        found = list(self._noted)
        winners = self._winners()
        if len(winners) > 1:
            found.append(Fault(Wrong.DOUBLE_WINNER, f"{', '.join(sorted(winners))} have all won"))
        if len(self._outcomes) > 1:
            found.append(Fault(Wrong.DUPLICATE, f"the inviter was told {len(self._outcomes)} outcomes"))
        elif not self._outcomes:
            found.append(Fault(Wrong.OTHER, "the inviter was told no outcome"))
        for request, peer, codes in self._answers.values():
            if len(codes) != 1:
                wrong = Wrong.DUPLICATE if codes else Wrong.OTHER
                found.append(Fault(wrong, f"{request} of {peer} was answered {codes}"))
            elif codes[0] not in (_WON, _OVER):
                found.append(Fault(Wrong.OTHER, f"{request} of {peer} was answered {codes[0]}"))
        return found + self._faults_of_end(winners)

    def _faults_of_end(self, winners: set[str]) -> list[Fault]:
        if not self.ended:
            rings = f", {', '.join(sorted(self.ringing))} ring for ever"
            found = [Fault(Wrong.MISSING_RECORD, "there is no record" + (rings if self.ringing else ""))]
            return found + [Fault(Wrong.GHOST_RING, f"{peer} rings for ever") for peer in self.ringing]
        if len(self.ended) > 1:
            ends = ", ".join(f"{record.state} {record.error}" for record in self.ended)
            return [Fault(Wrong.DUPLICATE, f"there are {len(self.ended)} records: {ends}")]
        record = self.ended[0]
        found = [
            Fault(Wrong.LOST_CANCEL, f"{peer} was not told to stop")
            for peer in self.ringing - winners - self._decliners()
        ]
        accepted = record.state == "ACCEPTED"
        if not accepted and winners:
            found.append(
                Fault(
                    Wrong.DOUBLE_WINNER,
                    f"{', '.join(winners)} has won a call that ended {record.state} {record.error}",
                )
            )
        elif accepted and {peer for peer, reason in _reasons(record) if reason == _WON} != winners:
            found.append(Fault(Wrong.OTHER, f"the record names another winner than {winners or 'nobody'}"))
        found += [
            Fault(Wrong.OTHER, f"{peer} has won and was told to stop") for peer in winners & set(self.stopped)
        ]
        outcome = self._outcomes[0].code if self._outcomes else None
        if outcome not in (None, record.error):
            found.append(
                Fault(Wrong.OTHER, f"the inviter was told {outcome}, the record says {record.error}")
            )
        return found

    def _winners(self) -> set[str]:
        """Whoever was told so itself, and whoever the inviter was told of."""
        own = {
            peer for request, peer, codes in self._answers.values() if request == "accept" and _WON in codes
        }
        return own | {outcome.peer for outcome in self._outcomes if outcome.peer is not None}

    def _decliners(self) -> set[str]:
        """Devices that need not be told, since their own answer has counted."""
        return {
            peer
            for request, peer, codes in self._answers.values()
            if request == "decline" and codes == [_WON]
        }

    def _ring(self, peers: Sequence[str]) -> None:
        for peer in peers:
            if self.ended:
                self._note(Wrong.GHOST_RING, f"{peer} was told to ring after the end")
            if peer in self.ringing:
                self._note(Wrong.DUPLICATE, f"{peer} was told to ring twice")
            self.ringing.add(peer)
            self.rung.append(peer)

    def _stop(self, peers: Sequence[str]) -> None:
        for peer in peers:
            if peer not in self.rung:
                self._note(Wrong.OTHER, f"{peer} was told to stop and never rang")
            allowed = 2 if peer in self._lost else 1
            if self.stopped.count(peer) >= allowed:
                self._note(Wrong.DUPLICATE, f"{peer} was told to stop {allowed + 1} times")
            self.ringing.discard(peer)
            self.stopped.append(peer)

    def _answer(self, told: Told) -> None:
        asked = self._answers.get(str(told.transaction))
        if asked is None:
            self._note(Wrong.OTHER, f"there is an answer to {told.transaction}, which nobody asked")
        else:
            asked[2].append(told.code)

    def _note(self, wrong: Wrong, words: str) -> None:
        self._noted.append(Fault(wrong, words))


def _reasons(record: Told) -> list[tuple[str, int]]:
    listed = record.candidates if isinstance(record.candidates, list) else []
    return [(one.peer, one.end_reason) for one in listed]
