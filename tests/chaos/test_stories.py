"""The judges of stories, deadlines and persistent people find the faults that they look for."""

from __future__ import annotations

import random
from typing import Any

import pytest

from tests.chaos.calls import Calls
from tests.chaos.judge import STOPPED, Case
from tests.chaos.persistent import Persistent
from tests.chaos.scripts import SCRIPTS, gaps
from tests.chaos.stories import Stories
from tests.chaos.story import Seat, Story
from workers.lab.bench.call_history import ACCEPTED

RULES = {"whenBusy": "ring", "glare": "merge"}
RECORD = {"state": "ACCEPTED", "error": 200, "candidates": [{"peer": "b#1", "endReason": 200}]}


def played(*more: tuple[str, list[str], dict[str, Any]], without: str = "") -> list[str]:
    """The faults of a call that `b` accepts, with some notifications added and some left out."""
    case = Case("call", {ACCEPTED})
    transaction = case.ask("accept", "b#1", (200,))
    good: list[tuple[str, list[str], dict[str, Any]]] = [
        ("invitation", ["b#1", "c"], {}),
        ("invitationCancel", ["c"], {}),
        ("inviteAccepted", ["a"], {"code": 200, "peer": "b#1"}),
        ("INVITE_COMPLETED", [], RECORD),
        ("answer", ["b#1"], {"code": 200, "transaction": transaction}),
    ]
    told = [each for each in good if each[0] != without] + list(more)
    for number, (kind, peers, payload) in enumerate(told):
        case.hear(str(number), kind, peers, payload)
    return list(case.faults())


def test_a_call_that_went_as_it_should_has_no_faults() -> None:
    assert played() == []


@pytest.mark.parametrize(
    ("more", "without", "fault"),
    [
        ([], "INVITE_COMPLETED", "there are 0 records"),
        ([("INVITE_COMPLETED", [], RECORD)], "", "there are 2 records"),
        ([("INVITE_COMPLETED", [], RECORD | {"error": 408})], "INVITE_COMPLETED", "it ended ACCEPTED 408"),
        ([], "invitationCancel", "c rings for ever"),
        ([("invitation", ["c"], {})], "", "c was told to ring after the end"),
        ([("invitationCancel", ["b#2"], {})], "", "b has won and was told to stop"),
        ([("inviteAccepted", ["a"], {"code": 200, "peer": "c"})], "", "b, c have all won"),
        ([], "answer", "accept of b was answered []"),
        ([("answer", ["c"], {"code": 200, "transaction": "9"})], "", "the answer 9 answers no request"),
    ],
)
def test_what_goes_wrong_is_seen(
    more: list[tuple[str, list[str], dict[str, Any]]], without: str, fault: str
) -> None:
    assert fault in "; ".join(played(*more, without=without))


def test_a_user_who_stays_busy_is_seen() -> None:
    stories = Stories(1, RULES)
    stories.begin()
    (name,) = [name for name in stories.open() if name.startswith("busy-0.")]
    stories.hear("1", "userBusy", [], {"userId": "busy-0.bob", "room": f"{name}z"})
    assert "busy-0.bob is busy for ever" in stories.check()


@pytest.mark.parametrize("merged", [0, 1, 2])
def test_two_calls_of_which_not_exactly_one_has_merged_are_seen(merged: int) -> None:
    story = Story(Seat("glare-0"), 1, RULES, random.Random(1))
    story.begin(SCRIPTS["glare"])
    for number, case in enumerate(story.cases.values()):
        into = {"into": "x|y|z"} if number < merged else {}
        case.hear(case.name, "INVITE_COMPLETED", [], RECORD | {"candidates": []} | into)
    assert (f"glare-0.1: {merged} calls have merged" in list(story.faults())) is (merged != 1)


def test_a_call_that_comes_after_the_others_accept_is_stopped() -> None:
    story = Story(Seat("glare-0"), 1, RULES, random.Random(1))
    story.begin(SCRIPTS["glare"])
    assert [(kind, event["inviteId"]) for kind, event in story.hear(["invitation a"])] == [
        ("accept", "glare-0.1a")
    ]
    assert [(kind, event["inviteId"]) for kind, event in story.hear(["invitation b"])] == [
        ("stopInvite", "glare-0.1b")
    ]


def test_a_device_that_stops_before_the_redial_rings_is_seen() -> None:
    story = Story(Seat("redial-0"), 1, RULES, random.Random(1))
    first, second = (story.invite(letter, story.seat.peer("alice"), "bob", STOPPED) for letter in "ab")
    assert first != second
    story.wrong.append(lambda: gaps(story))
    stopped = {"state": "DECLINED_BY_CREATOR", "error": 487, "candidates": []}
    for letter, kind, peers in (
        ("a", "invitation", ["d"]),
        ("a", "invitationCancel", ["d"]),
        ("a", "INVITE_COMPLETED", []),
        ("b", "invitation", ["d"]),
    ):
        story.cases[letter].hear(kind, kind, peers, stopped)
    assert "redial-0.1: d stopped before it rang for the next call" in list(story.faults())


@pytest.mark.parametrize(("early_ms", "is_wrong"), [(1, True), (0, False), (-100, False)])
def test_an_accept_in_time_that_does_not_win_is_seen(early_ms: int, is_wrong: bool) -> None:
    calls = Calls(seed=1)
    while True:
        event = calls.begin()
        (call,) = calls.open.values()
        if call.plan == "deadline":
            break
        calls.open.clear()
    calls.note_sent(event, 10_000)
    ids = {"inviteId": event[1]["inviteId"]}
    calls.note_sent(("accept", ids), 11_500 - early_ms)
    calls.hear("1", "INVITE_COMPLETED", [], {**ids, "state": "DECLINED_BY_TIMEOUT", "error": 408})
    assert any("before the deadline" in fault for fault in calls.check()) is is_wrong


def test_two_winners_among_persistent_people_are_seen() -> None:
    people = Persistent(seed=1)
    people.begin()
    for device in ("firm-0-0", "firm-0-1"):
        people.hear(device, "answer", [device], {"inviteId": "firm-0", "code": 200})
    assert people.check() == ["firm call 0: firm-0-0, firm-0-1 have all won"]
