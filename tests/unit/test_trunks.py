"""Which trunk leads to a number."""

from __future__ import annotations

import asyncio
import threading

import msgspec
import pytest

from invites.events.fields import ANYTHING, BadEvent, check_match
from invites.events.protocol import Peer
from invites.lookup.matching import fits, fitting
from invites.lookup.result import LookupResult, Member
from invites.lookup.trunks import Listed, Trunk, in_order
from tests.support.waiting import TIMEOUT_S, wait_until


def _leads(match: str, number: str) -> bool:
    return fits(match, number)


def stored(*trunks: Trunk) -> dict[bytes, bytes]:
    """The hash of these trunks."""
    return {f"{trunk.user}|{trunk.id}".encode(): msgspec.json.encode(trunk) for trunk in trunks}


@pytest.mark.parametrize(
    ("match", "number", "leads"),
    [
        ("*", "anything@all", True),
        (r"\+34\d+", "+34600", True),
        (r"\+34", "+34600", False),
        (r"34600", "+34600", False),
        (r"\+34|\+34600", "+34600", True),
        (r"", "", True),
        (r"^\+34600$", "+34600", True),
    ],
)
def test_the_whole_number_must_fit(match: str, number: str, *, leads: bool) -> None:
    assert _leads(match, number) == leads


@pytest.mark.parametrize(
    "match", [r"(a+)+$", r"(a|aa)+$", r"(a|a?)+$", r"(.*a){30}", r"(x+x+)+y", r"([a-zA-Z]+)*$", r"(a*)*b"]
)
def test_what_stalls_a_backtracking_matcher_stalls_nobody(match: str) -> None:
    """Each of these would take a backtracking matcher longer than the universe has lasted."""
    assert not _leads(match, "a" * 254 + "!")


@pytest.mark.parametrize(
    "match", ["(?:" + "a?" * 100 + "){1000}", "(?:" + "(a?)" * 160 + "){50}", r"(\pL?\pN?){1000}"]
)
def test_what_is_large_in_use_is_refused_and_leads_nowhere(match: str) -> None:
    with pytest.raises(BadEvent, match="pattern too large"):
        check_match(match)
    assert not _leads(match, "a")


@pytest.mark.parametrize(
    ("match", "number"),
    [
        ("|".join(f"\\+{prefix}\\d+" for prefix in range(100, 210)), "+2031234567"),
        (r"\+?\d{1,100}", "1" * 100),
        (r".{1,100}@[^@]{1,100}", "me@home"),
        (r"[\pL\pN]+", "été7"),
        ("|".join(["a" * 90] * 11), "a" * 90),
    ],
)
def test_what_installations_need_is_small_enough(match: str, number: str) -> None:
    check_match(match)
    assert _leads(match, number)


async def test_as_many_as_are_wanted_are_found_in_their_order() -> None:
    expressions = [r"\+34\d+", "x", ANYTHING] * 20
    assert await fitting(expressions, "+34600", 3) == [0, 2, 3]
    assert len(await fitting(expressions, "+34600", 1_000)) == 40
    assert await fitting(["x"] * 40 + ["y"], "y") == [40]


async def test_the_loop_goes_on_while_an_expression_is_matched(monkeypatch: pytest.MonkeyPatch) -> None:
    began, go_on = threading.Event(), threading.Event()

    class Slow:
        def fullmatch(self, _: str) -> str | None:
            began.set()
            return "it fits" if go_on.wait(TIMEOUT_S) else None

    monkeypatch.setattr("invites.lookup.matching._compiled", lambda _: Slow())
    listed = Listed(b"1", in_order(stored(Trunk("t", "sip", match=r"\d+"))))
    matched = asyncio.create_task(listed.leading_to("1", Peer("a", "alice")))
    await wait_until(began.is_set, "it is being matched")
    go_on.set()
    assert await matched == "sip|t"


async def test_a_specific_match_goes_before_one_for_everything_and_the_inviter_is_left_out() -> None:
    listed = Listed(
        b"1", in_order(stored(Trunk("b", "sip"), Trunk("spain", "sip", match=r"\+34\d+"), Trunk("a", "sip")))
    )
    assert await listed.leading_to("+34600", Peer("x", "sip")) == "sip|spain sip|a sip|b"
    assert await listed.leading_to("+34600", Peer("spain", "sip")) == "sip|a sip|b"
    assert await listed.leading_to("bob", Peer("a", "sip")) == "sip|b"
    assert await listed.leading_to("bob", Peer("a", "other")) == "sip|a sip|b"
    assert await Listed().leading_to("bob", Peer("a", "sip")) == ""


async def test_a_call_knows_ten_trunks_at_most() -> None:
    listed = Listed(b"1", in_order(stored(*(Trunk(f"t{number}", "sip") for number in range(20)))))
    assert (await listed.leading_to("bob", Peer("a", "alice"))).split() == [
        f"sip|t{number}" for number in (0, 1, *range(10, 18))
    ]


def test_trunks_of_two_users_may_have_one_peer_id() -> None:
    assert list(in_order(stored(Trunk("t", "b"), Trunk("t", "a")))) == ["a|t", "b|t"]


@pytest.mark.parametrize(("at", "field"), [("5-1", "t"), ("5-3", "sip|t")])
def test_of_two_fields_of_one_trunk_the_later_registration_counts(at: str, field: str) -> None:
    found = stored(Trunk("t", "sip", at)) | {b"t": msgspec.json.encode(Trunk("t", "sip", "5-2"))}
    assert list(in_order(found)) == [field]


def test_what_was_found_is_short_and_comes_back_as_it_was() -> None:
    assert LookupResult().encode() == b"{}"
    found = LookupResult(
        known=True, push=("p",), members=[Member("bob", trunks="sip|t"), Member("carol", failed=True)]
    )
    assert found.encode() == (
        b'{"known":true,"push":["p"],"members":[{"user":"bob","trunks":"sip|t"},{"user":"carol","failed":true}]}'
    )
    assert LookupResult.decode(found.encode()) == found
    assert LookupResult.decode(LookupResult(members=[]).encode()).members == []
