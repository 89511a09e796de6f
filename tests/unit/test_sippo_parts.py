"""The parts of sippo-server's client that need no server: answers, breaker, cache, timing."""

from __future__ import annotations

import inspect
import json
from typing import Any

import pytest
from tenacity import AsyncRetrying, RetryCallState

import invites.sippo
from invites.sippo import (
    ApiCall,
    Breaker,
    CallOutcome,
    Candidate,
    Group,
    NoAnswer,
    PushDevice,
    Reachability,
    Timing,
)
from invites.sippo.answers import Granted, PushDevices, decode
from invites.sippo.breaker import Admission
from invites.sippo.timing import Budget
from invites.values.backoff import exponential

_GROUP = {"id": "sales", "name": "Sales", "participants": ["alice"], "ringingStrategy": "sequential"}
_PUSH = {"address": "alice", "type": "PUSH", "id": "phone", "platform": "ios"}
_REACHABILITY = {
    "candidatesType": "user",
    "candidates": [{"address": "alice", "type": "PEER", "id": "p1"}, _PUSH],
}


def _decoded(kind: type[Any], content: object) -> Any:
    return decode(ApiCall.GROUPS, kind, json.dumps(content).encode())


def test_what_is_answered() -> None:
    group = _decoded(Group, _GROUP)
    assert group == Group(id="sales", name="Sales", participants=("alice",), ringing_strategy="sequential")
    assert group.sequential
    assert not _decoded(Group, _GROUP | {"ringingStrategy": "simultaneous"}).sequential
    assert _decoded(Reachability, _REACHABILITY).candidates == (
        Candidate("alice", "PEER", "p1"),
        Candidate("alice", "PUSH", "phone", "ios"),
    )
    assert _decoded(PushDevices, {"devices": [{"id": "x", "platform": "fireos"}]}).devices == (
        PushDevice("x", "fireos"),
    )


@pytest.mark.parametrize("more", [{"ringingStrategy": None}, {"name": None}, {"unknown": [1, {"a": None}]}])
def test_what_may_be_null_or_more(more: dict[str, object]) -> None:
    assert _decoded(Group, {"id": "sales", "participants": ["alice"], **more}).participants == ("alice",)
    assert _decoded(Group, {"id": "sales", "participants": []}).participants == ()


@pytest.mark.parametrize("call", [ApiCall.GROUPS, ApiCall.LOGIN])
def test_an_answer_that_is_nested_too_deeply_is_nonsense(call: ApiCall) -> None:
    with pytest.raises(NoAnswer) as caught:
        decode(call, Group, b'{"unknown":' + b"[" * 1_000_000)
    assert caught.value.reason is CallOutcome.NONSENSE
    assert ("nested too deeply" in str(caught.value)) == (call is not ApiCall.LOGIN)
    assert caught.value.__context__ is None


_BAD_IDS = ("", "a b", "a|b", "{a}", "a\n", "a\x00", "a\x85", "x" * 256, None, 5, ["a"], {"id": "a"})


@pytest.mark.parametrize("bad", _BAD_IDS)
def test_ids_are_those_of_the_contract(bad: object) -> None:
    peer = {"address": "alice", "type": "PEER"}
    for kind, content in (
        (Group, _GROUP | {"id": bad}),
        (Group, _GROUP | {"participants": ["alice", bad]}),
        (PushDevices, {"devices": [{"id": bad, "platform": "ios"}]}),
        (Reachability, _REACHABILITY | {"candidates": [peer | {"address": bad}]}),
    ):
        with pytest.raises(NoAnswer) as caught:
            _decoded(kind, content)
        assert caught.value.reason is CallOutcome.NONSENSE


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        (Group, {}),
        (Group, []),
        (Group, None),
        (Group, {"id": "sales"}),
        (Group, {"participants": ["alice"]}),
        (Group, _GROUP | {"participants": "alice"}),
        (Group, _GROUP | {"participants": None}),
        (Group, _GROUP | {"name": 5}),
        (Group, _GROUP | {"ringingStrategy": "random"}),
        (PushDevices, []),
        (PushDevices, {"devices": None}),
        (PushDevices, {"devices": [{"id": "x"}]}),
        (PushDevices, {"devices": [{"id": "x", "platform": "symbian"}]}),
        (Reachability, {"candidates": []}),
        (Reachability, {"candidatesType": "user"}),
        (Reachability, _REACHABILITY | {"candidatesType": "trunk"}),
        (Reachability, _REACHABILITY | {"candidates": [{"address": "alice", "type": "SIP"}]}),
        (Reachability, _REACHABILITY | {"candidates": [{"type": "PEER"}]}),
        (Reachability, _REACHABILITY | {"candidates": [_PUSH | {"id": None}]}),
        (Granted, {"token": "t"}),
        (Granted, {"token": "t", "expiresIn": 0}),
        (Granted, {"token": "t", "expiresIn": -1}),
        (Granted, {"token": "t", "expiresIn": "3600"}),
        (Granted, {"token": "", "expiresIn": 3600}),
        (Granted, {"expiresIn": 3600}),
    ],
)
def test_a_field_that_is_missing_or_wrong_makes_it_no_answer(kind: type[Any], content: object) -> None:
    with pytest.raises(NoAnswer):
        _decoded(kind, content)


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff", b'{"id":"\xff"}', b"[" * 100_000, b"nul", b'{"id":"a"}x']
)
def test_what_is_no_json_is_no_answer(body: bytes) -> None:
    with pytest.raises(NoAnswer) as caught:
        decode(ApiCall.GROUPS, Group, body)
    assert str(caught.value).startswith("The sippo-server call groups failed: the reply is invalid (")
    assert len(str(caught.value)) < 300


def test_what_an_answer_says_cannot_break_a_log() -> None:
    with pytest.raises(NoAnswer) as caught:
        _decoded(Group, _GROUP | {"ringingStrategy": "evil\n\x1b[2J" + "x" * 10_000})
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300


class _Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def _breaker(after: int = 2, pause: float = 5) -> tuple[Breaker, _Clock, list[bool]]:
    clock, changes = _Clock(), list[bool]()
    return Breaker(after, pause, clock, changes.append), clock, changes


def test_a_breaker_opens_and_lets_one_probe_through() -> None:
    breaker, clock, changes = _breaker()
    breaker.failed()
    assert (breaker.open, breaker.admit()) == (False, Admission.FREE)
    breaker.failed()
    assert breaker.open
    clock.now += 4.9
    assert breaker.admit() is Admission.REFUSED
    clock.now += 0.1
    assert [breaker.admit() for _ in range(3)] == [Admission.PROBE, Admission.REFUSED, Admission.REFUSED]
    breaker.worked()
    breaker.probe_ended()
    assert (breaker.open, breaker.admit()) == (False, Admission.FREE)
    assert changes == [True, False]


def test_a_probe_that_says_nothing_begins_the_pause_anew() -> None:
    breaker, clock, changes = _breaker(after=1)
    breaker.failed()
    clock.now += 5
    assert breaker.admit() is Admission.PROBE
    clock.now += 3
    breaker.probe_ended()
    clock.now += 4
    assert breaker.admit() is Admission.REFUSED
    clock.now += 1
    assert breaker.admit() is Admission.PROBE
    assert changes == [True]


def test_an_answer_that_comes_late_closes_a_breaker_too() -> None:
    breaker, _, changes = _breaker(after=1)
    breaker.failed()
    breaker.worked()
    assert breaker.admit() is Admission.FREE
    assert changes == [True, False]


def test_failures_count_in_a_row() -> None:
    breaker, _, changes = _breaker(after=3)
    for _ in range(10):
        breaker.failed()
        breaker.failed()
        breaker.worked()
    assert changes == []


def test_pauses_grow_to_a_second_whatever_the_number(monkeypatch: pytest.MonkeyPatch) -> None:
    def delay(attempt: int) -> float:
        state = RetryCallState(AsyncRetrying(), None, (), {})
        state.attempt_number = attempt
        return exponential(100, 1_000)(state)

    monkeypatch.setattr("random.uniform", lambda _low, high: high)
    assert [delay(attempt) for attempt in (1, 2, 3, 4, 5, 100_000)] == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
    monkeypatch.undo()
    pauses = {delay(5) for _ in range(100)}
    assert all(0.5 <= pause <= 1.0 for pause in pauses)
    assert len(pauses) > 50


@pytest.mark.parametrize(
    ("value", "date", "seconds"),
    [
        (None, None, 0),
        ("0", None, 0),
        (" 7 ", None, 7),
        ("Thu, 01 Jan 1970 00:00:30 GMT", None, 20),
        ("Thu, 01 Jan 1970 00:00:30 -0000", None, 20),
        ("Thu, 01 Jan 1970 00:00:30 GMT", "Thu, 01 Jan 1970 00:00:27 GMT", 3),
        ("Thu, 01 Jan 1970 00:00:30 GMT", "nonsense", 20),
        ("Thu, 01 Jan 1970 00:00:05 GMT", None, 0),
        ("Thursday, 01-Jan-70 00:00:30 GMT", None, 20),
        ("later", None, 0),
        ("-7", None, 0),
        ("", None, 0),
        ("9" * 400, None, float("inf")),
        ("Thu, 01 Jan 99999 00:00:30 GMT", None, 0),
    ],
)
def test_retry_after(value: str | None, date: str | None, seconds: float) -> None:
    assert Timing(wall=lambda: 10.0).retry_after(value, date) == seconds


def test_a_budget_is_never_less_than_nothing() -> None:
    clock = _Clock()
    budget = Budget(3, clock)
    clock.now += 2
    assert budget.left() == 1
    clock.now += 2
    assert budget.left() == 0


def test_the_public_names_are_these() -> None:
    assert sorted(invites.sippo.__all__) == invites.sippo.__all__
    for name in invites.sippo.__all__:
        assert inspect.getdoc(getattr(invites.sippo, name)), f"{name} is explained"
