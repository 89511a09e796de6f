"""Checks one call's notifications against the invariants.

`invites bench races` and the chaos tests judge their calls by these rules only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from enum import StrEnum
from typing import Final, NamedTuple

import msgspec

_WON: Final = 200
_OVER: Final = 410

End = tuple[str, int]
"""`state` and `error` of a call record."""

ACCEPTED: Final[End] = ("ACCEPTED", 200)


class Wrong(StrEnum):
    """The kinds of faults."""

    DOUBLE_WINNER = "double_winners"
    """More than one device has the call, or a device has a call that was not accepted."""
    LOST_CANCEL = "lost_cancels"
    """A device rang and was not told to stop."""
    GHOST_RING = "ghost_rings"
    """A device was told to ring after the call had ended, or rings for a call that does not end."""
    MISSING_RECORD = "missing_records"
    DUPLICATE = "duplicate_notifications"
    """A notification, an answer, an outcome or a record came twice."""
    OTHER = "others"


class Fault(NamedTuple):
    """One broken invariant."""

    wrong: Wrong
    words: str


class _Candidate(msgspec.Struct):
    peer: str | None
    end_reason: int = msgspec.field(name="endReason", default=0)


class Told(msgspec.Struct):
    """The fields of a payload that the invariants are about."""

    call: str = msgspec.field(name="inviteId", default="")
    transaction: str | int | None = None
    code: int = 0
    peer: str | None = None
    state: str = ""
    error: int = 0
    candidates: list[_Candidate] | int = []

    @property
    def end(self) -> End:
        """How the call ended (of a record only)."""
        return self.state, self.error

    def winners(self) -> set[str | None]:
        """The peers that have the call (of a record only)."""
        listed = self.candidates if isinstance(self.candidates, list) else []
        return {one.peer for one in listed if one.end_reason == _WON}


class _Request(NamedTuple):
    kind: str
    peer: str
    codes: list[int]
    """The codes of its answers."""


class CallHistory:
    """The notifications of one call, in the order of the stream.

    `devices` must ring once each, unless the call rings nobody (None: any devices). `ends` are the permitted ends
    (None: any end). With `in_order`, all notifications come from one stream, and none may ring a device after the
    record. (A group's members get theirs on their own shards, and those streams have no order against the record.)

    The test calls `ask` for each request of a device or the caller, and `lose` for each device that it disconnects. A
    lost device returns after the end and may then be told once more to stop.
    """

    def __init__(
        self,
        devices: Sequence[str] | None = None,
        ends: Collection[End] | None = None,
        *,
        in_order: bool = True,
    ) -> None:
        self.rung: list[str] = []
        self.ended: list[Told] = []
        """The records."""
        self._devices = devices
        self._ends = ends
        self._in_order = in_order
        self._ids: set[str] = set()
        self._lost: set[str] = set()
        self._requests: dict[str, _Request] = {}
        self._stopped: list[str] = []
        self._outcomes: list[Told] = []
        self._noted: list[Fault] = []

    def ask(self, kind: str, peer: str) -> str:
        """Note a peer's request; returns the transaction that its answer must carry."""
        transaction = str(len(self._requests))
        self._requests[transaction] = _Request(kind, peer, [])
        return transaction

    def lose(self, peer: str) -> None:
        """Note that a device is disconnected."""
        self._lost.add(peer)

    def hear(self, identity: str, kind: str, peers: Sequence[str], told: Told) -> bool:
        """Take in a notification; returns whether it is new."""
        new = identity not in self._ids
        self._ids.add(identity)
        if not new:
            self._note(Wrong.DUPLICATE, f"notification {identity} came twice")
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
        return new

    def unheard(self) -> CallHistory:
        """The same call before its first notification."""
        history = CallHistory(self._devices, self._ends, in_order=self._in_order)
        history._lost |= self._lost
        history._requests = {name: asked._replace(codes=[]) for name, asked in self._requests.items()}
        return history

    def answered(self) -> bool:
        """Whether every request has an answer."""
        return all(asked.codes for asked in self._requests.values())

    def faults(self) -> list[Fault]:
        """All broken invariants. Call this after the last notification."""
        return [
            *self._noted,
            *self._faults_of_rings(),
            *self._faults_of_answers(),
            *self._faults_of_end(),
            *self._faults_of_winners(),
            *self._faults_of_stops(),
        ]

    def _faults_of_rings(self) -> Iterator[Fault]:
        if self.rung and self._devices is not None and Counter(self.rung) != Counter(self._devices):
            yield Fault(Wrong.OTHER, f"not each device was told to ring once: {dict(Counter(self.rung))}")

    def _faults_of_answers(self) -> Iterator[Fault]:
        for kind, peer, codes in self._requests.values():
            if len(codes) != 1:
                yield Fault(
                    Wrong.DUPLICATE if codes else Wrong.OTHER, f"{kind} of {peer} was answered {codes}"
                )
            elif codes[0] not in (_WON, _OVER):
                yield Fault(Wrong.OTHER, f"{kind} of {peer} was answered {codes[0]}")

    def _faults_of_end(self) -> Iterator[Fault]:
        if len(self._outcomes) != 1:
            wrong = Wrong.DUPLICATE if self._outcomes else Wrong.OTHER
            yield Fault(wrong, f"the inviter was told {len(self._outcomes)} outcomes")
        if len(self.ended) > 1:
            ends = ", ".join(f"{each.state} {each.error}" for each in self.ended)
            yield Fault(Wrong.DUPLICATE, f"there are {len(self.ended)} records: {ends}")
        if self.ended:
            yield from self._faults_of_record(self.ended[0])
        else:
            yield Fault(Wrong.MISSING_RECORD, "there is no record")

    def _faults_of_record(self, record: Told) -> Iterator[Fault]:
        state, error = record.end
        if self._ends is not None and record.end not in self._ends:
            yield Fault(Wrong.OTHER, f"it ended {state} {error}")
        if self._outcomes and self._outcomes[0].code != error:
            yield Fault(
                Wrong.OTHER, f"the inviter was told {self._outcomes[0].code}, the record says {error}"
            )
        if state == "DECLINED_BY_CREATOR" and self._asked("stopInvite") and not self._succeeded("stopInvite"):
            yield Fault(Wrong.OTHER, "the caller ended the call and was answered otherwise")

    def _faults_of_winners(self) -> Iterator[Fault]:
        """The winner's answer, the inviter's outcome and the record must name the same peer."""
        winners = self._winners()
        if len(winners) > 1:
            yield Fault(Wrong.DOUBLE_WINNER, f"{_listed(winners)} have all won")
        for record in self.ended[:1]:
            if record.end != ACCEPTED and winners:
                ended = f"{record.state} {record.error}"
                yield Fault(Wrong.DOUBLE_WINNER, f"{_listed(winners)} has won a call that ended {ended}")
            elif record.winners() != winners:
                named = _listed(record.winners())
                yield Fault(Wrong.OTHER, f"{_listed(winners)} has won, the record names {named}")
            elif winners != self._succeeded("accept"):
                yield Fault(Wrong.OTHER, f"{_listed(winners)} has won and was answered otherwise")

    def _faults_of_stops(self) -> Iterator[Fault]:
        winners = self._winners()
        ringing = set(self.rung) - set(self._stopped)
        for peer in sorted(ringing - winners - self._succeeded("decline")):
            if self.ended:
                yield Fault(Wrong.LOST_CANCEL, f"{peer} was not told to stop")
            else:
                yield Fault(Wrong.GHOST_RING, f"{peer} rings for ever")
        for peer in sorted(winners & set(self._stopped)):
            yield Fault(Wrong.OTHER, f"{peer} has won and was told to stop")

    def _winners(self) -> set[str]:
        """The peers whose accept was answered 200, and the peer in the inviter's outcome."""
        return self._succeeded("accept") | {told.peer for told in self._outcomes if told.peer is not None}

    def _asked(self, kind: str) -> list[_Request]:
        return [asked for asked in self._requests.values() if asked.kind == kind]

    def _succeeded(self, kind: str) -> set[str]:
        """The peers whose request was answered 200."""
        return {asked.peer for asked in self._asked(kind) if _WON in asked.codes}

    def _ring(self, peers: Sequence[str]) -> None:
        for peer in peers:
            if self.ended and self._in_order:
                self._note(Wrong.GHOST_RING, f"{peer} was told to ring after the end")
            if peer in self.rung:
                self._note(Wrong.DUPLICATE, f"{peer} was told to ring twice")
            self.rung.append(peer)

    def _stop(self, peers: Sequence[str]) -> None:
        for peer in peers:
            if peer not in self.rung:
                self._note(Wrong.OTHER, f"{peer} was told to stop and never rang")
            allowed = 2 if peer in self._lost else 1
            if self._stopped.count(peer) >= allowed:
                self._note(Wrong.DUPLICATE, f"{peer} was told to stop {allowed + 1} times")
            self._stopped.append(peer)

    def _answer(self, told: Told) -> None:
        asked = self._requests.get(str(told.transaction))
        if asked is None:
            self._note(Wrong.OTHER, f"there is an answer to {told.transaction}, which answers no request")
        else:
            asked.codes.append(told.code)

    def _note(self, wrong: Wrong, words: str) -> None:
        self._noted.append(Fault(wrong, words))


def _listed(peers: Collection[str | None]) -> str:
    return ", ".join(sorted(map(str, peers))) or "nobody"
