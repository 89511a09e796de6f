"""The log messages: the vendor's templates letter for letter, filled in as the contract says."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import msgspec
import pytest

from invites.events.protocol import decode_event
from invites.logs import messages
from invites.logs.messages import TEMPLATES, received, render, write

_LUA = Path(__file__).resolve().parents[2] / "lua"

# As the contract lists them.
CONTRACT_LINES = r"""
[info]  invite peerId(${peer.id}), to(${to}), inviteId(${inviteId}), context(${JSON.stringify(context)})
[debug] Trying to get candidates for ${to}
[debug] Trying to resolve group ${to}
[debug] got candidates ${candidates}
[info]  Notifying that user ${userId} joins to the room ${roomId}
[debug] INVITE_COMPLETED will be notified
[info]  Notifying that invite ${inviteId} for room ${roomId} was accepted by ${whoAccepted}
[info]  Notifying user ${userId} leaves ${roomId}
[info]  Cleaning data for room: ${roomIdToClean}
[info]  accept peerId(${peer.id}), from(${from}), inviteId(${inviteId})
[info]  decline peerId(${peer.id}), from(${from}), inviteId(${inviteId}), errorCode(${errorCode})
[debug] send invitation cancel ${invite} to ${candidate}
[debug] send invitation ${invite} to ${candidate}
[info]  will reject pending invitations of ${item} except ${peer}
[info]  resuming invite ${type} ${peer} ${message}
[info]  stopInvite with the inviteId ${inviteId} for the callee ${callee}
[debug] will update invite candidates with registry ${invite} ${registry}
[info]  onPeerDisconnected will remove as candidate from ${invites}
[warn]  No candidates found for resource: ${to}
[debug] Resource '${to}' is a ${candidatesType} with candidates: ${candidates}
"""
_LEVELS = {"info": logging.INFO, "debug": logging.DEBUG, "warn": logging.WARNING}
_LISTED = [
    (_LEVELS[level], template)
    for level, template in re.findall(r"^\[(\w+)\] +(.*)$", CONTRACT_LINES, re.MULTILINE)
]

# For each fact: its values, and the resulting line.
_RENDERED = {
    "invite": (
        ("a1", "bob", "i1", r'{"a":1.0,"b":"x\/y"}'),
        'invite peerId(a1), to(bob), inviteId(i1), context({"a":1,"b":"x/y"})',
    ),
    "resolving": (("bob",), "Trying to get candidates for bob"),
    "resolving_group": (("sales",), "Trying to resolve group sales"),
    "got_candidates": (('[{"address":"bob"}]',), 'got candidates [{"address":"bob"}]'),
    "joined": (("bob", "r1"), "Notifying that user bob joins to the room r1"),
    "completed": ((), "INVITE_COMPLETED will be notified"),
    "accepted": (("i1", "r1", "bob"), "Notifying that invite i1 for room r1 was accepted by bob"),
    "left": (("bob", "r1"), "Notifying user bob leaves r1"),
    "cleaning": (("r1",), "Cleaning data for room: r1"),
    "accept": (("b1", "alice", "i1"), "accept peerId(b1), from(alice), inviteId(i1)"),
    "decline": (
        ("b1", "alice", "i1", "486"),
        "decline peerId(b1), from(alice), inviteId(i1), errorCode(486)",
    ),
    "send_cancel": (
        ('{"inviteId":"i1","code":200}', '{"address":"bob"}'),
        'send invitation cancel {"inviteId":"i1","code":200} to {"address":"bob"}',
    ),
    "send_invitation": (
        ('{"inviteId":"i1"}', '{"address":"bob"}'),
        'send invitation {"inviteId":"i1"} to {"address":"bob"}',
    ),
    "rejecting": (
        ("bob", '{"id":"b1","user":"bob"}'),
        'will reject pending invitations of bob except {"id":"b1","user":"bob"}',
    ),
    "resuming": (
        ("invite", '{"id":"b1"}', '{"inviteId":"i1"}'),
        'resuming invite invite {"id":"b1"} {"inviteId":"i1"}',
    ),
    "stop_invite": (("i1", "bob"), "stopInvite with the inviteId i1 for the callee bob"),
    "update_candidates": (
        ('{"inviteId":"i1"}', '{"id":"b1"}'),
        'will update invite candidates with registry {"inviteId":"i1"} {"id":"b1"}',
    ),
    "peer_disconnected": (
        ('["alice|i1|bob"]',),
        'onPeerDisconnected will remove as candidate from ["alice|i1|bob"]',
    ),
    "no_candidates": (("bob",), "No candidates found for resource: bob"),
    "resource": (
        ("bob", "user", "[]"),
        "Resource 'bob' is a user with candidates: []",
    ),
    "dead_letter": (
        ("invit", "5-0", "field type is 'invit'"),
        "An event of type invit (entry 5-0) is a dead letter: field type is 'invit'",
    ),
    "group_too_large": (
        ("sales", "501", "500"),
        "Group sales has 501 members, which is more than maxGroupSize (500): nobody is called",
    ),
    "invite_refused": (
        ("perPair", "alice", "bob"),
        "Limit perPair: the invite from alice to bob is refused",
    ),
    "undisturbed": (("bob", "alice"), "User bob wants no invite of alice now: nothing rings"),
    "device_dropped": (
        ("devicesPerUser", "bob", "phone"),
        "Limit devicesPerUser: user bob loses the device phone",
    ),
    "not_replaced": (
        ("alice|1|bob", "accepted"),
        "Invite alice|1|bob is not replaced: accepted",
    ),
    "entry_ahead": (
        ("9999999999999-1", "1764252877000-1"),
        "Entry 9999999999999-1 is ahead of the server's time and counts as 1764252877000-1: see Clocks in operating.md",
    ),
    "timer_failed": (
        ("ring|a|b|c", "broken"),
        "Timer ring|a|b|c has failed, is a dead letter and will be tried again: broken",
    ),
    "timer_failed_again": (
        ("ring|a|b|c", "3", "broken"),
        "Timer ring|a|b|c has failed 3 times and will be tried again: broken",
    ),
    "timer_recovered": (("ring|a|b|c", "3"), "Timer ring|a|b|c is applied after 3 failures"),
}


def test_the_table_holds_the_contracts_templates_and_levels() -> None:
    assert len(_LISTED) == 20
    ours = list(TEMPLATES.values())
    for entry in _LISTED:
        assert ours.count(entry) == 1, entry


@pytest.mark.parametrize("name", TEMPLATES)
def test_each_message_is_filled_in(name: str) -> None:
    values, line = _RENDERED[name]
    assert render((name, *values)) == line


def test_what_the_scripts_report_has_a_message() -> None:
    script = "\n".join(file.read_text("utf-8") for file in sorted(_LUA.rglob("*.lua")))
    calls = re.findall(r"^\s*(?:info|debug|warn)\((.*)$", script, re.MULTILINE)
    names = {name for call in calls for name in re.findall(r"'([a-z_]+)'", call.split(",")[0])}
    assert len(names) > 10
    assert names <= TEMPLATES.keys() | {"invitation"}, names - TEMPLATES.keys()


@pytest.mark.parametrize(
    ("context", "printed"), [("", "undefined"), ("null", "null"), ("[]", "[]"), ('"x"', '"x"'), ("1.0", "1")]
)
def test_a_context_is_any_json_or_undefined(context: str, printed: str) -> None:
    assert render(("invite", "a1", "bob", "i1", context)).endswith(f"context({printed})")


def test_an_id_that_looks_like_json_stays_an_id() -> None:
    assert render(("rejecting", "1.0", "1.0")) == "will reject pending invitations of 1.0 except 1.0"
    assert render(("left", '"1.0"', "[1.0]")) == 'Notifying user "1.0" leaves [1.0]'


def test_what_was_not_given_is_undefined() -> None:
    assert render(("left",)) == "Notifying user undefined leaves undefined"


@pytest.mark.parametrize("name", [name for name, (values, _) in _RENDERED.items() if values])
def test_no_value_can_break_the_line(name: str) -> None:
    evil = "x\n2025-01-01 [info] forged\x1b[2J\u2028\x85\x00"
    for value in (evil, msgspec.json.encode({"k": evil}).decode(), f'{{"{evil}'):
        line = render((name, *(value for _ in _RENDERED[name][0])))
        assert len(line.splitlines()) == 1
        assert line.isprintable()


# What came in


@pytest.mark.parametrize(
    ("kind", "payload", "line"),
    [
        (
            "invite",
            b'{"peer":{"id":"a1","user":"alice"},"to":"bob","inviteId":"i1","room":"r","context":{"n": 1.0}}',
            'invite peerId(a1), to(bob), inviteId(i1), context({"n":1})',
        ),
        (
            "inviteRequest",
            b'{"peer":{"id":"a1","user":"alice"},"to":"bob","inviteId":"i1"}',
            "invite peerId(a1), to(bob), inviteId(i1), context(undefined)",
        ),
        (
            "invite",
            b'{"peer":{"id":"a1","user":"alice"},"to":"bob","inviteId":"i1","room":"r","context":null}',
            "invite peerId(a1), to(bob), inviteId(i1), context(null)",
        ),
        (
            "accept",
            b'{"peer":{"id":"b1","user":"bob"},"from":"alice","inviteId":"i1"}',
            "accept peerId(b1), from(alice), inviteId(i1)",
        ),
        (
            "decline",
            b'{"peer":{"id":"b1","user":"bob"},"from":"alice","inviteId":"i1"}',
            "decline peerId(b1), from(alice), inviteId(i1), errorCode(603)",
        ),
        (
            "decline",
            b'{"peer":{"id":"b1","user":"bob"},"from":"alice","inviteId":"i1","errorCode":486}',
            "decline peerId(b1), from(alice), inviteId(i1), errorCode(486)",
        ),
        (
            "stopInvite",
            b'{"inviteId":"i1","callee":"bob"}',
            "stopInvite with the inviteId i1 for the callee bob",
        ),
    ],
)
def test_events_that_the_vendors_service_speaks_of(kind: str, payload: bytes, line: str) -> None:
    fact = received(decode_event(kind, payload))
    assert fact is not None
    assert render(fact) == line


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        ("ringing", b'{"peer":{"id":"b1","user":"bob"},"from":"alice","inviteId":"i1"}'),
        ("getInvitations", b'{"peer":{"id":"b1","user":"bob"},"transaction":"t"}'),
        ("registered", b'{"registry":{"id":"b1","user":"bob"}}'),
        ("joined", b'{"userId":"bob","roomId":"r1"}'),
    ],
)
def test_events_that_it_does_not_speak_of(kind: str, payload: bytes) -> None:
    assert received(decode_event(kind, payload)) is None


# Writing


def test_facts_are_logged_at_their_level_with_their_ids(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    write([("accept", "b1", "alice", "i1"), ("completed",), ("no_candidates", "bob")])
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (logging.INFO, "accept peerId(b1), from(alice), inviteId(i1)"),
        (logging.DEBUG, "INVITE_COMPLETED will be notified"),
        (logging.WARNING, "No candidates found for resource: bob"),
    ]
    fields = [vars(record)["fields"] for record in caplog.records]
    assert fields[0] == {"event": "accept", "peerId": "b1", "from": "alice", "inviteId": "i1"}
    assert fields[2] == {"event": "no_candidates", "to": "bob"}


@pytest.mark.parametrize("name", ["got_candidates", "send_invitation", "send_cancel"])
def test_what_is_said_of_candidates_has_the_invite_as_a_field_of_json_alone(
    caplog: pytest.LogCaptureFixture, name: str
) -> None:
    caplog.set_level(logging.DEBUG)
    values, line = _RENDERED[name]
    write([(name, *values, "i1")])
    (record,) = caplog.records
    assert record.getMessage() == line
    assert vars(record)["fields"] == {"event": name, "inviteId": "i1"}


def test_nothing_is_rendered_below_the_level(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    rendered: list[str] = []

    def noting(text: str) -> str:
        rendered.append(text)
        return text

    monkeypatch.setattr(messages, "stringify", noting)
    fact = ("invite", "a1", "bob", "i1", "{}")
    caplog.set_level(logging.WARNING)
    write([fact])
    assert (rendered, caplog.records) == ([], [])
    caplog.set_level(logging.INFO)
    write([fact])
    assert (rendered, len(caplog.records)) == (["{}"], 1)


def test_an_unknown_fact_is_said_and_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    write([("from_a_newer_script", "x"), ("left", "bob", "r1")])
    assert [record.levelno for record in caplog.records] == [logging.ERROR, logging.INFO]
    assert "from_a_newer_script" in caplog.text


@pytest.mark.parametrize(
    ("level", "verbosity"), [(logging.ERROR, 0), (logging.WARNING, 0), (logging.INFO, 1), (logging.DEBUG, 2)]
)
def test_scripts_report_what_is_logged(caplog: pytest.LogCaptureFixture, level: int, verbosity: int) -> None:
    caplog.set_level(level)
    assert messages.verbosity() == verbosity
