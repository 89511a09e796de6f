"""From a valid entry to the call of its rule: the order of arguments, and the values of absent ones."""

import json
from typing import Any

import pytest

from invites.events.decoding import decode_event_entry
from invites.events.entry import Entry
from invites.events.operation import Operation
from invites.events.protocol import EVENT_TYPES, Invite
from tests.support import events as e
from tests.support.malformed import VALID
from tests.support.shard import peer

NOT_LOOKED_UP = ("", "", "", "", "", "", b"")
"""Looked-up data of an invite (its room, the peer that asked for it, trunks, sippo-server) where more follows."""
HEAD = b'{"inviteId":"1","from":"alice","to":"bob"'
INVITE = ("a", "alice", "bob", "1", HEAD, "r", b"", b"", b"", "", "", b"", "0")
"""The arguments of an invite with the mandatory fields alone."""


def _operation(event: e.Published) -> Operation:
    fields = {b"type": event[0].encode(), b"payload": json.dumps(event[1]).encode()}
    return decode_event_entry(Entry("5-1", fields), max_deliveries=5)


def _stored(event: e.Published) -> Any:
    raw = _operation(event).arguments.flat()[2]
    assert isinstance(raw, bytes)
    return json.loads(raw)


@pytest.mark.parametrize(
    ("event", "handler", "args"),
    [
        (e.invite(), "invite", INVITE),
        (
            e.invite(
                mediatypes=["audio"],
                fromDetails={},
                context={"n": 1},
                expires=5,
                requestId="q",
                transaction="t",
            ),
            "invite",
            (
                "a",
                "alice",
                "bob",
                "1",
                HEAD,
                "r",
                b'["audio"]',
                b"{}",
                b'{"n":1}',
                5,
                "q",
                b'"t"',
                "0",
            ),
        ),
        (e.request(), "invite", ("a", "alice", "bob", "1", HEAD, "", b"", b"", b"", "", "", b"", "1")),
        (e.invite(returnOf="x|y|z"), "inviteReturn", ("a", "alice", HEAD, "x|y|z", "bob", b"", b"")),
        (e.ringing("phone"), "ringing", ("phone", "bob", "alice|1|bob", HEAD)),
        (e.accept("phone", transaction=7), "accept", ("phone", "bob", "alice|1|bob", HEAD, b"7")),
        (e.accept("a", "alice", to="bob"), "accept", ("a", "alice", "alice|1|bob", HEAD, b"")),
        (e.decline("phone"), "decline", ("phone", "bob", "alice|1|bob", HEAD, "alice", "bob", "", b"")),
        (
            e.decline("phone", errorCode=486),
            "decline",
            ("phone", "bob", "alice|1|bob", HEAD, "alice", "bob", 486, b""),
        ),
        (e.silence("phone", transaction=7), "silence", ("phone", "bob", "alice|1|bob", HEAD, b"7")),
        (e.said_by("d", e.silence("phone")), "silence", ("phone", "bob", "alice|1|bob", HEAD, b"", "d")),
        (e.stop(), "stopInvite", ("a", "alice", "alice", "1", "bob", HEAD, 487, b"")),
        (
            e.stop(None),
            "stopInvite",
            ("", "", "", "1", "bob", b'{"inviteId":"1","from":"","to":"bob"', 487, b""),
        ),
        (e.stop(None, from_="alice"), "stopInvite", ("", "", "alice", "1", "bob", HEAD, 487, b"")),
        (e.invitations("phone"), "getInvitations", ("phone", "bob", b'"t"', b"")),
        (e.said_by("d", e.accept("phone")), "accept", ("phone", "bob", "alice|1|bob", HEAD, b"", b"", "d")),
        (
            e.accept("phone", context={"n": 1}),
            "accept",
            ("phone", "bob", "alice|1|bob", HEAD, b"", b'{"n":1}'),
        ),
        (e.said_by("d", e.invite()), "invite", (*INVITE, *NOT_LOOKED_UP, "", "", "", "", "d")),
        (e.invite(ringMode="all"), "invite", (*INVITE, *NOT_LOOKED_UP, "", "all")),
        (e.invite(probe=True), "invite", (*INVITE, *NOT_LOOKED_UP, "", "", "", "1")),
        (e.invite(replaces="x|y|z"), "invite", (*INVITE, *NOT_LOOKED_UP, "x|y|z")),
        (e.said_by("d", e.unregistered("phone")), "disconnected", ("phone", "bob", "", "d")),
        (e.unregistered("phone"), "disconnected", ("phone", "bob", "")),
        (e.disconnected("phone", session="s"), "disconnected", ("phone", "bob", "s")),
        (e.joined("bob"), "joined", ("bob", "r", "", "")),
        (e.joined("bob", peer=peer("p", "bob", "d")), "joined", ("bob", "r", "p", "d")),
        (("left", {"userId": "bob", "roomId": "r"}), "left", ("bob", "r")),
        (e.room_closed(), "roomClosed", ("r",)),
        (e.user_state(), "userState", ("bob", "0", "", "")),
        (e.user_state(dnd=True, until=7, block=["a", "b", "a"]), "userState", ("bob", "1", 7, "a|b|")),
        (e.user_state(until=7), "userState", ("bob", "0", "", "")),
        (e.calls_seen(), "callsSeen", ("bob", "")),
        (e.calls_seen(before=7), "callsSeen", ("bob", 7)),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) and isinstance(value[0], str) else None,
)
def test_an_event_calls_its_rule(event: e.Published, handler: str, args: tuple[object, ...]) -> None:
    operation = _operation(event)
    assert (operation.rule, operation.entry, operation.arguments.flat()) == (handler, "5-1", args)


def test_a_registration_is_stored_with_the_entry_that_made_it() -> None:
    assert _stored(e.registered("phone")) == {"id": "phone", "user": "bob", "type": "WEB", "at": "5-1"}
    assert _operation(e.registered("phone")).arguments.flat()[3:] == ("", "", "", "0")


def test_a_registration_stores_all_that_it_was_given() -> None:
    event = e.registered("phone", type="IOS", device="d", session="s", expires=9)
    assert _stored(event) == {
        "id": "phone", "user": "bob", "type": "IOS", "device": "d", "session": "s", "expires": 9, "at": "5-1",
    }  # fmt: skip
    assert _operation(event).arguments.flat()[3:] == ("d", "s", 9, "0")


def test_a_trunk_stores_its_match_and_others_do_not() -> None:
    stored = _stored(e.trunk("t"))
    assert (stored["trunk"], stored["match"], _operation(e.trunk("t")).arguments.flat()[6]) == (
        True,
        "*",
        "1",
    )
    assert "match" not in _stored(e.registered("phone", match="x"))
    assert "confirm" not in stored
    assert _stored(e.trunk("t", confirm=True))["confirm"] is True
    assert "confirm" not in _stored(e.registered("phone", confirm=True))


def test_few_accepts_are_confirmed_so_the_rule_gets_the_argument_only_then() -> None:
    assert _operation(e.accept("phone")).arguments.flat()[4:] == (b"",)
    assert _operation(e.accept("phone", context=1)).arguments.flat()[4:] == (b"", b"1")
    assert _operation(e.accept("phone", confirmed=False)).arguments.flat()[4:] == (b"",)
    confirmed = _operation(e.accept("phone", confirmed=True))
    assert confirmed.arguments.flat()[4:] == (b"", b"", "", "1")


def test_a_tag_of_a_trace_or_any_other_field_of_the_entry_is_ignored() -> None:
    fields = {
        b"type": b"joined",
        b"payload": b'{"userId":"u","roomId":"r"}',
        b"traceparent": b"\xff",
        b"x": b"",
    }
    assert decode_event_entry(Entry("1-1", fields), max_deliveries=5).rule == "joined"


def test_what_was_decoded_is_there_for_the_log() -> None:
    event = _operation(e.invite(e.ALICE)).event
    assert isinstance(event, Invite)
    assert event.peer.user == "alice"
    assert _operation(("invite", {})).event is None


def test_quotes_in_ids_are_escaped_in_the_head() -> None:
    assert (
        _operation(e.invite(to='b"\\')).arguments.flat()[4]
        == b'{"inviteId":"1","from":"alice","to":"b\\"\\\\"'
    )


def test_every_type_has_its_rule() -> None:
    assert {_operation(event).rule for event in VALID} >= set(EVENT_TYPES) - {
        "inviteRequest",
        "unregistered",
    }
