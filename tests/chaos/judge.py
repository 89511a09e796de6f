"""Checks the notifications of one call of a story."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from typing import Any, Final

from workers.lab.bench.call_history import ACCEPTED, End

Json = dict[str, Any]

STOPPED: Final[End] = ("DECLINED_BY_CREATOR", 487)
BUSY: Final[End] = ("DECLINED", 486)
UNREACHABLE: Final[End] = ("DECLINED", 480)

_OUTCOMES: Final = ("inviteAccepted", "inviteRejected")
_order: Final = itertools.count()


def hardware_of(peer: str) -> str:
    """The device of a peer: in a story `device#1` and `device#2` are connections of one device."""
    return peer.partition("#")[0]


class Case:
    """One call. `ends` are the permitted ends; with `told_again` the inviter may be told again after each loss."""

    def __init__(self, name: str, ends: Collection[End], *, told_again: bool = False) -> None:
        self.name = name
        self.ends = ends
        self.told_again = told_again
        self._asked: dict[str, tuple[str, str, Collection[int]]] = {}
        self.forget()

    def forget(self) -> None:
        """Reset to the state before the first notification, to take them all in again."""
        self.records: list[Json] = []
        self.outcomes: list[Json] = []
        self.rang: dict[str, int] = {}
        """Device -> when it was told to ring last, as a number that grows."""
        self.stopped: dict[str, int] = {}
        """Device -> when it was told to stop last."""
        self.invitations: list[Json] = []
        self.merged = False
        self._answers: dict[str, list[int]] = {transaction: [] for transaction in self._asked}
        self._identities: Counter[str] = Counter()
        self._late: list[str] = []

    def ask(self, kind: str, peer: str, codes: Collection[int]) -> str:
        """Note a request, and the permitted codes of its answer; returns its transaction."""
        transaction = str(len(self._asked))
        self._asked[transaction] = (kind, hardware_of(peer), codes)
        self._answers[transaction] = []
        return transaction

    def hear(self, identity: str, kind: str, peers: Iterable[str], payload: Json) -> bool:
        """Take in a notification; returns whether it is new."""
        self._identities[identity] += 1
        if kind == "invitation":
            if self.records:
                self._late += peers
            self.rang |= {hardware_of(peer): next(_order) for peer in peers}
            self.invitations.append(payload)
        elif kind == "invitationCancel":
            self.stopped |= {hardware_of(peer): next(_order) for peer in peers}
        elif kind == "INVITE_COMPLETED":
            self.records.append(payload)
            self.merged = "into" in payload
        elif kind in _OUTCOMES:
            self.outcomes.append(payload)
        elif kind == "answer":
            self._answers.setdefault(str(payload.get("transaction")), []).append(payload["code"])
        return self._identities[identity] == 1

    def complete(self) -> bool:
        """Whether the call is over, everybody has been told, and each request is answered."""
        return bool(self.records and self.outcomes and all(self._answers.values()))

    def ended(self, *ends: End) -> bool:
        """Whether the call has ended in one of these ways."""
        return any((record["state"], record["error"]) in ends for record in self.records)

    def faults(self) -> Iterator[str]:
        """All faults, in words."""
        for fault in itertools.chain(self._of_end(), self._of_answers(), self._of_devices()):
            yield f"{self.name}: {fault}"

    def _of_end(self) -> Iterator[str]:
        for identity, count in self._identities.items():
            if count > 1:
                yield f"notification {identity} came {count} times"
        if len(self.records) != 1:
            yield f"there are {len(self.records)} records"
        for record in self.records:
            if (record["state"], record["error"]) not in self.ends:
                yield f"it ended {record['state']} {record['error']}"
        codes = {each["code"] for each in self.outcomes}
        if not self.outcomes or len(codes) > 1 or (len(self.outcomes) > 1 and not self.told_again):
            yield f"the inviter was told {[each['code'] for each in self.outcomes]}"
        elif self.records and codes != {self.records[0]["error"]}:
            yield f"the inviter was told {codes}, the record says {self.records[0]['error']}"

    def _of_answers(self) -> Iterator[str]:
        for transaction, codes in self._answers.items():
            if transaction not in self._asked:
                yield f"the answer {transaction} answers no request"
                continue
            kind, device, permitted = self._asked[transaction]
            if len(codes) != 1 or codes[0] not in permitted:
                yield f"{kind} of {device} was answered {codes}"

    def _of_devices(self) -> Iterator[str]:
        winners = self._winners()
        if len(winners) > 1:
            yield f"{', '.join(sorted(winners))} have all won"
        if winners and not self.ended(ACCEPTED):
            yield f"{', '.join(winners)} has won a call that was not accepted"
        if self._late:
            yield f"{', '.join(self._late)} was told to ring after the end"
        for device, rang in self.rang.items():
            if device not in winners | self._who("decline") and self.stopped.get(device, -1) < rang:
                yield f"{device} rings for ever"
        named = {hardware_of(each["peer"]) for each in self.outcomes if each.get("peer")}
        for device in named & set(self.stopped):
            if self.stopped[device] > self.rang.get(device, -1):
                yield f"{device} has won and was told to stop"

    def _winners(self) -> set[str]:
        told = {each["peer"] for each in self.outcomes if each.get("peer")}
        told |= {
            one["peer"]
            for record in self.records
            for one in record["candidates"]
            if one["endReason"] == ACCEPTED[1] and one["peer"]
        }
        return {hardware_of(peer) for peer in told} | self._who("accept")

    def _who(self, kind: str) -> set[str]:
        return {
            device
            for transaction, (asked, device, _) in self._asked.items()
            if asked == kind and 200 in self._answers[transaction]
        }
