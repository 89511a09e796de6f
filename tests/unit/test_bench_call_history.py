"""The faults that are found in a call."""

from __future__ import annotations

from itertools import count
from typing import Any

import msgspec
import pytest

from workers.lab.bench.call_history import ACCEPTED, CallHistory, End, Told, Wrong

DEVICES = ["phone", "tablet", "desk"]


class Played(CallHistory):
    """A call whose notifications come one after the other."""

    def __init__(self, *ends: End) -> None:
        super().__init__(DEVICES, ends or None)
        self.numbers = count()

    def tell(self, kind: str, *peers: str, identity: str = "", **payload: Any) -> None:
        told = msgspec.convert(payload, Told)
        self.hear(identity or f"n-{next(self.numbers)}", kind, peers, told)

    def end(self, state: str, error: int, **reasons: int) -> None:
        candidates = [{"peer": peer, "endReason": reason} for peer, reason in reasons.items()]
        self.tell("INVITE_COMPLETED", state=state, error=error, candidates=candidates)

    def wrong(self) -> list[Wrong]:
        return sorted(fault.wrong for fault in self.faults())


def ringing(*ends: End) -> Played:
    """A call that rings three devices and may end so."""
    call = Played(*ends)
    call.tell("invitation", *DEVICES)
    return call


def accepted(*ends: End) -> Played:
    """As it should be: the phone has accepted, the others were told."""
    call = ringing(*ends)
    transaction = call.ask("accept", "phone")
    call.tell("invitationCancel", "tablet", "desk", code=200)
    call.tell("inviteAccepted", "caller", code=200, peer="phone")
    call.end("ACCEPTED", 200, phone=200, tablet=487, desk=487)
    call.tell("answer", "phone", transaction=transaction, code=200)
    return call


def cancelled(*told: str) -> Played:
    """The caller has hung up, and these devices were told."""
    call = ringing()
    transaction = call.ask("stopInvite", "caller")
    call.tell("invitationCancel", *told, code=487)
    call.tell("inviteRejected", "caller", code=487)
    call.end("DECLINED_BY_CREATOR", 487, phone=487, tablet=487, desk=487)
    call.tell("answer", "caller", transaction=transaction, code=200)
    return call


def test_nothing_is_wrong_with_a_call_that_went_as_it_should() -> None:
    assert accepted().faults() == []
    assert cancelled(*DEVICES).faults() == []


def test_a_device_that_loses_is_answered_so() -> None:
    call = accepted()
    call.tell("answer", "tablet", transaction=call.ask("accept", "tablet"), code=410)
    assert call.faults() == []


def test_a_second_winner() -> None:
    call = accepted()
    call.tell("answer", "tablet", transaction=call.ask("accept", "tablet"), code=200)
    assert Wrong.DOUBLE_WINNER in call.wrong()


def test_a_winner_of_a_call_that_ended_otherwise() -> None:
    call = cancelled(*DEVICES)
    call.tell("answer", "phone", transaction=call.ask("accept", "phone"), code=200)
    assert Wrong.DOUBLE_WINNER in call.wrong()


def test_a_device_that_is_not_told_to_stop() -> None:
    assert cancelled("phone", "desk").wrong() == [Wrong.LOST_CANCEL]


def test_a_device_that_has_declined_is_not_told() -> None:
    call = cancelled("phone", "desk")
    call.tell("answer", "tablet", transaction=call.ask("decline", "tablet"), code=200)
    assert call.faults() == []


def test_a_device_whose_decline_came_too_late_is_told() -> None:
    call = cancelled("phone", "desk")
    call.tell("answer", "tablet", transaction=call.ask("decline", "tablet"), code=410)
    assert call.wrong() == [Wrong.LOST_CANCEL]


def test_a_device_that_is_told_to_ring_after_the_end() -> None:
    call = cancelled(*DEVICES)
    call.tell("invitation", "phone")
    assert Wrong.GHOST_RING in call.wrong()


def test_a_device_that_is_not_told_to_ring() -> None:
    call = Played()
    call.tell("invitation", "phone")
    assert call.faults()[0].words == "not each device was told to ring once: {'phone': 1}"


def test_a_call_may_ring_nobody() -> None:
    call = Played()
    call.tell("inviteRejected", "caller", code=404)
    call.end("DECLINED", 404)
    assert call.faults() == []


def test_an_end_that_was_not_expected() -> None:
    assert accepted(ACCEPTED).faults() == []
    assert [fault.words for fault in accepted(("DECLINED", 603)).faults()] == ["it ended ACCEPTED 200"]


def test_a_call_without_an_end() -> None:
    assert ringing().wrong() == [*[Wrong.GHOST_RING] * 3, Wrong.MISSING_RECORD, Wrong.OTHER]


def test_a_notification_that_comes_twice() -> None:
    call = accepted()
    call.tell("inviteProgress", "caller", identity="n-0", candidates=3)
    assert call.wrong() == [Wrong.DUPLICATE]


@pytest.mark.parametrize(
    "told",
    [
        ("inviteAccepted", {"code": 200, "peer": "phone"}),
        ("INVITE_COMPLETED", {"state": "ACCEPTED", "error": 200}),
        ("answer", {"transaction": "0", "code": 200}),
        ("invitationCancel", {"code": 200}),
    ],
    ids=["outcome", "record", "answer", "cancel"],
)
def test_what_is_told_twice(told: tuple[str, dict[str, Any]]) -> None:
    call = accepted()
    call.tell(told[0], "desk", **told[1])
    assert call.wrong() == [Wrong.DUPLICATE]


def test_a_device_that_was_lost_may_be_told_once_more() -> None:
    call = cancelled(*DEVICES)
    call.lose("desk")
    call.tell("invitationCancel", "desk", code=487)
    assert call.faults() == []
    call.tell("invitationCancel", "desk", code=487)
    assert call.wrong() == [Wrong.DUPLICATE]


def test_a_winner_that_is_told_to_stop() -> None:
    call = accepted()
    call.tell("invitationCancel", "phone", code=200)
    assert call.wrong() == [Wrong.OTHER]


def test_a_request_without_an_answer() -> None:
    call = accepted()
    call.ask("accept", "tablet")
    assert not call.answered()
    assert [fault.words for fault in call.faults()] == ["accept of tablet was answered []"]


def test_an_answer_that_nobody_asked_for() -> None:
    call = accepted()
    call.tell("answer", "desk", transaction="77", code=200)
    assert call.wrong() == [Wrong.OTHER]


def test_an_outcome_that_the_record_does_not_know() -> None:
    call = ringing()
    call.tell("invitationCancel", *DEVICES, code=487)
    call.tell("inviteRejected", "caller", code=408)
    call.end("DECLINED_BY_CREATOR", 487)
    assert call.wrong() == [Wrong.OTHER]


@pytest.mark.parametrize(("call", "kind"), [(accepted(), "accept"), (cancelled(*DEVICES), "stopInvite")])
def test_whose_request_decided_is_answered_so(call: Played, kind: str) -> None:
    again = call.unheard()
    assert again.faults() != []
    assert not again.answered()
    assert call.answered()
    (asked,) = call._asked(kind)
    asked.codes[:] = [410]
    assert call.wrong() == [Wrong.OTHER]


def test_members_of_a_group_for_whom_nobody_decided_have_no_peer() -> None:
    call = Played()
    call.tell("inviteRejected", "caller", code=487)
    nobody = {"address": "carol", "peer": None, "endReason": 487}
    call.tell("INVITE_COMPLETED", state="DECLINED_BY_CREATOR", error=487, candidates=[nobody])
    assert call.faults() == []


def test_a_record_that_names_another_winner() -> None:
    call = ringing()
    call.tell("invitationCancel", "tablet", "desk", code=200)
    call.tell("inviteAccepted", "caller", code=200, peer="phone")
    call.end("ACCEPTED", 200, phone=487, desk=200)
    assert call.wrong() == [Wrong.OTHER]
