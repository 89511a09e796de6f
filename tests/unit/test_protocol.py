"""Decoding: each event with all its fields, their defaults, and the limits at their exact boundary."""

import copy
import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from invites.events import fields
from invites.events.fields import MAX_CONTEXT, BadEvent, EventId, Id
from invites.events.protocol import (
    EVENT_STRUCTS,
    EVENT_TYPES,
    MAX_PAYLOAD,
    Accept,
    Decline,
    Disconnected,
    Event,
    GetInvitations,
    Invite,
    InviteRequest,
    Joined,
    Left,
    Peer,
    Registered,
    Ringing,
    RoomClosed,
    StopInvite,
    Unregistered,
    decode_event,
)
from invites.schema.examples import EVENTS
from invites.values import validation
from tests.support import events as e

PEER = Peer("a", "alice")
BOB = Peer("phone", "bob")


def _decode(event: e.Published) -> Event:
    return decode_event(event[0], json.dumps(event[1]).encode())


def _refused(event: e.Published) -> str:
    with pytest.raises(BadEvent) as caught:
        _decode(event)
    return str(caught.value)


def test_the_types_are_those_of_the_contract() -> None:
    assert set(EVENT_TYPES) == {
        "invite", "inviteRequest", "ringing", "accept", "decline", "silence", "stopInvite", "getInvitations",
        "registered", "unregistered", "disconnected", "joined", "left", "roomClosed", "userState", "callsSeen",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("event", "decoded"),
    [
        (e.invite(), Invite(peer=PEER, to="bob", invite_id="1", room="r")),
        (
            e.invite(expires=5, requestId="q", returnOf="x|y|z", replaces="u|v|w", transaction="t"),
            Invite(
                peer=PEER, to="bob", invite_id="1", room="r", expires=5, request_id="q", return_of="x|y|z",
                replaces="u|v|w", transaction="t",
            ),
        ),
        (e.request(transaction=7), InviteRequest(peer=PEER, to="bob", invite_id="1", transaction=7)),
        (e.ringing("phone"), Ringing(peer=BOB, from_="alice", invite_id="1")),
        (e.accept("phone", to="b"), Accept(peer=BOB, from_="alice", invite_id="1", to="b")),
        (
            e.said_by("d", e.ringing("phone")),
            Ringing(peer=Peer("phone", "bob", "d"), from_="alice", invite_id="1"),
        ),
        (e.decline("phone"), Decline(peer=BOB, from_="alice", invite_id="1", error_code=None)),
        (e.decline("phone", errorCode=486), Decline(peer=BOB, from_="alice", invite_id="1", error_code=486)),
        (e.stop(), StopInvite(invite_id="1", callee="bob", peer=PEER, error_code=487)),
        (e.stop(None, from_="x"), StopInvite(invite_id="1", callee="bob", from_="x", peer=None)),
        (e.invitations("phone"), GetInvitations(peer=BOB, transaction="t")),
        (e.unregistered("phone"), Unregistered(peer=BOB, session=None)),
        (e.disconnected("phone", session="s"), Disconnected(peer=BOB, session="s")),
        (e.joined("bob"), Joined(user_id="bob", room_id="r")),
        (e.left("bob"), Left(user_id="bob", room_id="r")),
        (e.room_closed(), RoomClosed(room_id="r")),
    ],
)  # fmt: skip
def test_an_event_is_decoded_with_its_defaults(event: e.Published, decoded: Event) -> None:
    assert _decode(event) == decoded


def test_a_registration_has_defaults() -> None:
    event = _decode(e.registered("phone"))
    assert isinstance(event, Registered)
    assert msgspec.structs.asdict(event.registry) == {
        "id": "phone", "user": "bob", "type": "WEB", "device": None, "session": None, "expires": None, "trunk": False,
        "match": "*", "confirm": None,
    }  # fmt: skip


def test_a_registration_keeps_what_it_is_given() -> None:
    event = _decode(e.trunk("t", r"\+49\d+", device="d", session="s", expires=1_000))
    assert isinstance(event, Registered)
    assert msgspec.structs.asdict(event.registry) == {
        "id": "t", "user": "sip", "type": "PSTN", "device": "d", "session": "s", "expires": 1_000, "trunk": True,
        "match": r"\+49\d+", "confirm": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    "field", ["requestId", "returnOf", "replaces", "expires", "transaction", "context", "mediatypes"]
)
def test_null_is_as_good_as_absent(field: str) -> None:
    event, absent = _decode(("invite", e.invite()[1] | {field: None})), _decode(e.invite())
    assert isinstance(event, Invite)
    assert isinstance(absent, Invite)
    assert fields.compact(event.context) == fields.compact(absent.context) == b""
    assert (event.request_id, event.return_of, event.expires, event.transaction) == (None, None, None, None)


def test_unknown_fields_are_ignored() -> None:
    assert _decode(e.left("bob")) == decode_event(
        "left", b'{"userId":"bob","roomId":"r","new":{"deep":[1]},"peer":5}'
    )


def _with_context(raw: bytes) -> bytes:
    return b'{"peer":{"id":"a","user":"alice"},"to":"b","inviteId":"1","room":"r","context":' + raw + b"}"


@pytest.mark.parametrize("number", [b"1e999", b"-1E+309", b"9" * 309, b"1" + b"0" * 220 + b"e99"])
@pytest.mark.parametrize("field", ["mediatypes", "fromDetails", "context"])
def test_a_number_beyond_any_double_is_refused_with_its_field(field: str, number: bytes) -> None:
    payload = _with_context(b'{"deep":["e999",' + number + b"]}").replace(b"context", field.encode())
    said = number.decode() if len(number) < 60 else f"of {len(number)} characters"
    with pytest.raises(BadEvent) as refused:
        decode_event("invite", payload)
    assert str(refused.value) == (
        f"field {field} has the number {said}, which is beyond 1.7976931348623157e308, the largest double"
    )


def test_the_context_of_an_answer_has_no_number_beyond_any_double() -> None:
    kind, payload = e.accept("p")
    raw = msgspec.json.encode(payload | {"context": 0}).replace(b'"context":0', b'"context":1e999')
    with pytest.raises(BadEvent, match="field context has the number 1e999"):
        decode_event(kind, raw)


@pytest.mark.parametrize("raw", [b"1e308", b'"1e999"', b"1e-999", b"0.0000001e310", b"9" * 308, b"[0e999]"])
def test_a_number_that_a_double_holds_is_no_fault(raw: bytes) -> None:
    decode_event("invite", _with_context(raw))


@pytest.mark.parametrize("kind", ["invite", "inviteRequest"])
def test_a_context_may_have_16_kib_and_not_a_byte_more(kind: str) -> None:
    assert MAX_CONTEXT == 16_384
    decode_event(kind, _with_context(b'"' + b"x" * (MAX_CONTEXT - 2) + b'"'))
    with pytest.raises(BadEvent, match="field context has 16385 bytes; at most 16384 are allowed"):
        decode_event(kind, _with_context(b'"' + b"x" * (MAX_CONTEXT - 1) + b'"'))


@pytest.mark.parametrize("answer", [e.accept("p"), e.decline("p")], ids=["accept", "decline"])
def test_the_context_of_an_answer_may_have_4_kib_and_not_a_byte_more(answer: e.Published) -> None:
    kind, payload = answer
    _decode((kind, payload | {"context": "x" * 4_094}))
    assert _refused((kind, payload | {"context": "x" * 4_095})) == (
        "field context has 4097 bytes; at most 4096 are allowed"
    )


def test_a_context_is_measured_in_bytes_of_utf_8() -> None:
    half = (MAX_CONTEXT - 2) // 2
    decode_event("invite", _with_context(b'"' + "ü".encode() * half + b'"'))
    with pytest.raises(BadEvent, match="field context has 16386 bytes"):
        decode_event("invite", _with_context(b'"' + "ü".encode() * (half + 1) + b'"'))


def test_white_space_between_the_tokens_of_a_context_does_not_count() -> None:
    spaced = b"[ 1 ,\n" + b" " * MAX_CONTEXT + b'"a b" ]'
    event = decode_event("invite", _with_context(spaced))
    assert isinstance(event, Invite)
    assert fields.compact(event.context) == b'[1,"a b"]'


def test_a_payload_may_have_64_kib_and_not_a_byte_more() -> None:
    assert MAX_PAYLOAD == 65_536
    frame = b'{"userId":"bob","roomId":"r","unknown":""}'
    largest = frame.replace(b'""', b'"' + b"x" * (MAX_PAYLOAD - len(frame)) + b'"')
    assert len(largest) == MAX_PAYLOAD
    decode_event("joined", largest)
    with pytest.raises(BadEvent, match="field payload has 65537 bytes; at most 65536 are allowed"):
        decode_event("joined", largest.replace(b"x", b"xx", 1))


@pytest.mark.parametrize("letter", ["x", "ü", "𝄞"])
@pytest.mark.parametrize("field", ["to", "inviteId", "room", "requestId"])
def test_an_id_may_have_255_characters_and_not_one_more(field: str, letter: str) -> None:
    _decode(("invite", e.invite()[1] | {field: letter * 255}))
    assert f"field {field} " in _refused(("invite", e.invite()[1] | {field: letter * 256}))


def test_a_ref_may_have_three_ids_of_255_characters() -> None:
    _decode(e.invite(returnOf="|".join(["x" * 255] * 3)))
    assert _refused(e.invite(returnOf="|".join(["x" * 255, "x" * 256, "x"]))) == (
        "field returnOf must be the ref of an invite, from|inviteId|to, not a text of 514 characters"
    )


@pytest.mark.parametrize("good", ["a", "peter@acme.com", "+4930", "ü例𝄞", '"\\/%[]()<>;,:?*', "-", "\ufeffa"])
def test_an_id_may_be_of_any_other_characters(good: str) -> None:
    event = _decode(e.joined(good))
    assert isinstance(event, Joined)
    assert event.user_id == good


@pytest.mark.parametrize(
    "bad",
    [" ", "a b", "\t", "a\n", "\r\n", "\x00", "\x1f", "\x7f", "\x80", "\x9f", "\xa0", "\u1680", "\u2000", "\u2028",
     "\u2029", "\u202f", "\u205f", "\u3000", "{", "}", "|"],
)  # fmt: skip
def test_an_id_has_no_white_space_no_control_characters_and_no_signs_of_the_keys(bad: str) -> None:
    for id_ in (bad, f"a{bad}", f"{bad}a", f"a{bad}a"):
        sentence = _refused(e.joined(id_))
        assert sentence.startswith("field userId must be a text of 1 to 255 characters without white space, ")


def test_of_an_id_that_does_not_count_the_characters_are_not_checked() -> None:
    event = decode_event("roomClosed", b'{"roomId":"a b","roomId":"r"}')
    assert isinstance(event, RoomClosed)
    assert event.room_id == "r"


def _ids(kind: type[msgspec.Struct], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The places of all ids of a payload."""
    for name, annotation in validation.fields(kind).items():
        if section := validation.section_of(annotation):
            yield from _ids(section, (*path, name))
        elif validation.metadata(annotation) in (validation.metadata(Id), validation.metadata(EventId)):
            yield (*path, name)


@pytest.mark.parametrize("kind", EVENT_TYPES)
def test_each_id_of_an_event_is_looked_at(kind: str) -> None:
    places = list(_ids(EVENT_STRUCTS[kind]))
    assert places
    for *path, name in places:
        payload = copy.deepcopy(EVENTS[kind])
        section = payload
        for part in path:
            section = section.setdefault(part, {"id": "p", "user": "bob"})
        for bad in ("a b", "{", "a\u2028"):
            section[name] = bad
            assert _refused((kind, payload)).startswith(
                f"field {'.'.join((*path, name))} must be a text of 1 to "
            )


@pytest.mark.parametrize(("code", "good"), [(399, False), (400, True), (699, True), (700, False)])
def test_an_error_code_is_400_to_699(code: int, good: bool) -> None:
    for event in (e.decline("phone", errorCode=code), e.stop(errorCode=code)):
        if good:
            _decode(event)
        else:
            assert "field errorCode " in _refused(event)


@pytest.mark.parametrize(
    ("ms", "good"), [(0, False), (1, True), (2**53 - 1, True), (2**53, False), (-1, False)]
)
def test_a_time_is_a_whole_number_of_ms_that_lua_can_hold(ms: int, good: bool) -> None:
    for event, field in (
        (e.invite(expires=ms), "expires"),
        (e.registered("p", expires=ms), "registry.expires"),
    ):
        if good:
            _decode(event)
        else:
            assert f"field {field} " in _refused(event)


@pytest.mark.parametrize(
    ("transaction", "good"),
    [("", True), ("x" * 255, True), ("x" * 256, False), (2**53 - 1, True), (-(2**53) + 1, True), (2**53, False),
     (1.0, False), (True, False), ([], False)],
)  # fmt: skip
def test_a_transaction_is_a_text_or_a_whole_number(transaction: Any, good: bool) -> None:
    event = "getInvitations", {"peer": e.ALICE, "transaction": transaction}
    if good:
        decoded = _decode(event)
        assert isinstance(decoded, GetInvitations)
        assert decoded.transaction == transaction
    else:
        assert "field transaction " in _refused(event)


@pytest.mark.parametrize("match", ["*", r"\+49\d{3,}", "a|b", "(?i)x", r"\p{L}+", "x" * 1_024])
def test_a_match_is_anything_or_a_regular_expression(match: str) -> None:
    _decode(e.trunk("t", match))


@pytest.mark.parametrize("match", ["(", "[a-", "**", "a{2,1}", r"(a)\1", "(?<!a)b", "(?=a)", "a" * 1_025])
def test_a_broken_match_is_refused(match: str) -> None:
    assert "field registry.match " in _refused(e.trunk("t", match))


def test_the_sentence_on_a_broken_match_says_what_is_wrong() -> None:
    assert _refused(e.trunk("t", "(")) == (
        'field registry.match is the text "(", which is no regular expression (RE2 syntax): missing ): ('
    )


def test_a_missing_field_is_named_by_its_path() -> None:
    assert _refused(("registered", {"registry": {"id": "p"}})) == "field registry.user is missing"
    assert _refused(("accept", {"peer": e.ALICE, "inviteId": "1"})) == "field from is missing"
    assert _refused(("roomClosed", {})) == "field roomId is missing"


def test_an_unknown_type_is_answered_with_the_known_ones() -> None:
    sentence = _refused(("zzz", {}))
    assert sentence.startswith('field type is the text "zzz", which is no event; known are invite, ')
    assert all(kind in sentence for kind in EVENT_TYPES)


def test_of_two_fields_of_one_name_the_last_one_counts() -> None:
    event = decode_event("joined", b'{"userId":"first","roomId":"r","userId":"last"}')
    assert isinstance(event, Joined)
    assert event.user_id == "last"


@pytest.mark.parametrize(
    ("raw", "compact"),
    [
        (b"null", b""), (b" 1 ", b"1"), (b"-0", b"-0"), (b"1e308", b"1e308"), (b"[ ]", b"[]"), (b"{ }", b"{}"),
        (b'{"b":1, "a":[ ],"b":2}', b'{"b":1,"a":[],"b":2}'), (b'" \\u00e9\\/ "', b'" \\u00e9\\/ "'),
        (b"123456789012345678901234567890", b"123456789012345678901234567890"),
    ],
)  # fmt: skip
def test_opaque_values_are_not_touched_but_for_white_space(raw: bytes, compact: bytes) -> None:
    event = decode_event("invite", _with_context(raw))
    assert isinstance(event, Invite)
    assert fields.compact(event.context) == compact
