"""The lines of a story, and times as people write them."""

from __future__ import annotations

from datetime import datetime

import pytest

from invites.queries.story import Told, read_step
from workers.cli.moments import parse_moment
from workers.cli.watch import with_seconds

NOW = round(datetime(2026, 11, 26, 14, 3, 30).astimezone().timestamp() * 1_000)


BEGAN = 1795808135000


@pytest.mark.parametrize(("began", "ms"), [(BEGAN, b"319"), (0, b"1795808135319")])
def test_a_step(began: int, ms: bytes) -> None:
    step = read_step(
        ms + b' decline 603 b1 1795808135382-3 2 invitationCancel 603 ["b2","b\\"3"]+7 x - []', began
    )
    assert step is not None
    assert (step.at, step.what, step.code, step.who) == (1795808135319, "decline", 603, "b1")
    assert (step.first, step.last) == ("1795808135382-1", "1795808135382-3")
    assert step.told == [Told("invitationCancel", 603, ["b2", 'b"3'], 7), Told("x", None, [], 0)]


def test_a_step_whose_notifications_are_of_its_ms() -> None:
    step = read_step(b"319 accept - b1 -3 3 answer 200 []", BEGAN)
    assert step is not None
    assert (step.first, step.last) == ("1795808135319-0", "1795808135319-3")


def test_all_candidates_are_named() -> None:
    step = read_step(b'0 invite - a -1 1 invitation - * inviteProgress 100 ["a"]', BEGAN, ["b1", "b2"])
    assert step is not None
    assert step.told == [Told("invitation", None, ["b1", "b2"], 0), Told("inviteProgress", 100, ["a"], 0)]


def test_the_inviter_is_named() -> None:
    step = read_step(b"9 stopInvite 487 | -2 2 inviteRejected 487 [|]", BEGAN, caller="a")
    assert step is not None
    assert (step.who, step.told) == ("a", [Told("inviteRejected", 487, ["a"], 0)])


def test_the_usual_beginning() -> None:
    short = read_step(b"0 invite - | -1 1 rings", BEGAN, ["b1", "b2"], "a")
    assert short is not None
    assert short == read_step(
        b'0 invite - a -1 1 invitation - * inviteProgress 100 ["a"]', BEGAN, ["b1", "b2"]
    )


def test_a_step_before_the_beginning() -> None:
    """The clock of the server has gone back."""
    step = read_step(b"-5 accept - b1 - -", BEGAN)
    assert step is not None
    assert step.at == BEGAN - 5


def test_a_step_that_tells_nothing() -> None:
    step = read_step(b"5 timer.grace - - - -", 0)
    assert step is not None
    assert (step.code, step.who, step.first, step.last, step.told) == (None, None, None, None, [])


def test_a_step_that_began_in_an_earlier_millisecond() -> None:
    step = read_step(b"5 invite - a 7-0 3", 0)
    assert step is not None
    assert (step.first, step.last) == ("7-0", "7-0")


@pytest.mark.parametrize("line", [b"", b"x", b"soon a - - - -", b"5 a - - - - what", b"\xff\xff"])
def test_a_line_that_no_rule_has_written(line: bytes) -> None:
    assert read_step(line, 0) is None


def test_what_is_told_in_a_wrong_shape_names_nobody() -> None:
    step = read_step(b"5 a - - x y what - nobody what z [5]+", 0)
    assert step is not None
    assert [(told.code, told.who, told.more) for told in step.told] == [(None, [], 0), (None, [], 0)]


@pytest.mark.parametrize(
    ("said", "moment"),
    [
        ("90s", NOW - 90_000),
        ("2h", NOW - 7_200_000),
        ("14:03", NOW - 30_000),
        ("14:03:31", NOW + 1_000 - 86_400_000),
        ("2026-11-26T14:03:29", NOW - 1_000),
        ("1795808135319", 1795808135319),
    ],
)
def test_a_time(said: str, moment: int) -> None:
    assert parse_moment(said, NOW) == moment


@pytest.mark.parametrize("said", ["", "soon", "25:00", "5w", "99999-01-01", "²h"])
def test_no_time(said: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        parse_moment(said, NOW)


@pytest.mark.parametrize(
    ("given", "completed"),
    [
        (["status", "--watch"], ["status", "--watch", "2"]),
        (["list", "--watch", "--json"], ["list", "--watch", "2", "--json"]),
        (["list", "--watch", "0.5"], ["list", "--watch", "0.5"]),
        (["list", "--watch=5"], ["list", "--watch=5"]),
    ],
)
def test_watch_has_a_number_behind_it(given: list[str], completed: list[str]) -> None:
    assert with_seconds(given) == completed
