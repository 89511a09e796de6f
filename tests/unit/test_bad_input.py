"""Nothing that is published can stop a worker or get lost: an unusable event is kept, and its sender is told."""

import json
import re

import pytest

from invites.events.arguments import DeadArguments
from invites.events.dead_letter import dead_event
from invites.events.decoding import decode_event_entry
from invites.events.entry import Entry
from invites.events.kept_fields import KEPT
from invites.events.operation import Operation
from invites.events.protocol import EVENT_TYPES
from invites.store.answers import Status
from tests.support import events as e
from tests.support.malformed import ASKING, VALID, Malformed, malformed
from tests.support.shard import Json, Shard, of_type

BAD = malformed()
BATCH = 50


def _decoded(bad: Malformed) -> Operation:
    return decode_event_entry(Entry("7-1", {b"type": bad.type, b"payload": bad.payload}, 2), max_deliveries=5)


def test_there_are_many_of_them_of_each_type() -> None:
    assert len(BAD) == len({(bad.type, bad.payload) for bad in BAD}) >= 150
    assert {bad.type.decode(errors="replace") for bad in BAD} > set(EVENT_TYPES)


@pytest.mark.parametrize("payload", [b"[NaN]", b"NaN", rb'"\ud800"'])
def test_what_is_no_object_is_called_so_whatever_else_is_wrong_with_it(payload: bytes) -> None:
    sentence = _decoded(Malformed("", b"invite", payload, "payload", known=False)).arguments.flat()[1]
    assert str(sentence).startswith("field payload must be an object, not ")


def test_each_becomes_a_dead_letter_whose_sentence_names_the_field() -> None:
    wrong = []
    for bad in BAD:
        operation = _decoded(bad)
        sentence = str(operation.arguments.flat()[1])
        if operation.rule != "dead" or not sentence.startswith(f"field {bad.names} "):
            wrong.append((bad.type, bad.name, operation.rule, sentence))
    assert wrong == []


def test_each_says_what_belongs_there_and_what_stood_there_and_not_in_the_words_of_a_decoder() -> None:
    for bad in BAD:
        sentence = str(_decoded(bad).arguments.flat()[1])
        assert (" must be " in sentence) == (", not " in sentence), sentence
        assert not re.search(r"`|regex|\b(str|int|bool|float|array|got|expected)\b", sentence), sentence


_ID = "a text of 1 to 255 characters without white space, control characters, {, } or |"
_ID_LIST = _ID.replace("a text", "texts")
_TRANSACTION = f"a text of at most 255 characters or a whole number up to {2**53 - 1} either way"


@pytest.mark.parametrize(
    ("kind", "payload", "sentence"),
    [
        ("getInvitations", '{"peer":{"id":7,"user":"u"}}', f"peer.id must be {_ID}, not the number 7"),
        ("getInvitations", '{"peer":{"id":"","user":"u"}}', f"peer.id must be {_ID}, not an empty text"),
        ("roomClosed", '{"roomId":"a b"}', f'roomId must be {_ID}, not the text "a b"'),
        ("roomClosed", '{"roomId":"a\u00a0\\n"}', f'roomId must be {_ID}, not the text "a\\u00a0\\n"'),
        ("roomClosed", f'{{"roomId":"{"x" * 256}"}}', f"roomId must be {_ID}, not a text of 256 characters"),
        ("roomClosed", '{"roomId":null}', f"roomId must be {_ID}, not null"),
        ("roomClosed", '{"roomId":[1]}', f"roomId must be {_ID}, not a list"),
        ("roomClosed", "{}", "roomId is missing"),
        ("roomClosed", r'{"roomId":"\ud800"}',
         r"roomId has \ud800, half of a surrogate pair without the other half, which is no character"),
        ("stopInvite", '{"inviteId":"i","callee":"c","peer":"p"}', 'peer must be an object, not the text "p"'),
        ("stopInvite", '{"inviteId":"i","callee":"c","errorCode":200}',
         "errorCode must be a whole number from 400 to 699, not the number 200"),
        ("registered", '{"registry":{"id":"a","user":"u","trunk":1}}',
         "registry.trunk must be true or false, not the number 1"),
        ("registered", '{"registry":{"id":"a","user":"u","expires":1.5}}',
         "registry.expires must be a whole number of milliseconds from 1 to 9007199254740991, not the number 1.5"),
        ("registered", f'{{"registry":{{"id":"a","user":"u","expires":1{"0" * 5000}}}}}',
         "registry.expires must be a whole number of milliseconds from 1 to 9007199254740991, not a huge number"),
        ("userState", '{"userId":"u","block":["a",5]}',
         f"block must be a list of at most 1000 {_ID_LIST}, not this list of 2"),
        ("userState", '{"userId":"u","block":"a"}',
         f'block must be a list of at most 1000 {_ID_LIST}, not the text "a"'),
        ("callsSeen", '{"userId":"u","before":0}',
         "before must be a whole number of milliseconds from 1 to 9007199254740991, not the number 0"),
        ("getInvitations", '{"peer":{"id":"a","user":"u"},"transaction":true}',
         f"transaction must be {_TRANSACTION}, not true"),
        ("roomClosed", "", "payload is empty"),
        ("roomClosed", "[]", "payload must be an object, not a list"),
        ("roomClosed", '{"roomId":', "payload is not JSON: It ends too early (line 1, column 11)"),
        ("roomClosed", '{"roomId":"a","x":Infinity}', "payload is not JSON: Infinity is no value there"),
        ("roomClosed", '\ufeff{"roomId":"a"}', "payload begins with a byte order mark, which JSON does not have"),
    ],
)  # fmt: skip
def test_a_sentence_reads_well(kind: str, payload: str, sentence: str) -> None:
    operation = decode_event_entry(
        Entry("7-1", {b"type": kind.encode(), b"payload": payload.encode()}), max_deliveries=5
    )
    assert operation.arguments.flat()[1] == f"field {sentence}"


def test_each_keeps_its_payload_as_it_came_its_entry_and_its_deliveries() -> None:
    for bad in BAD:
        operation = _decoded(bad)
        arguments = operation.arguments
        assert isinstance(arguments, DeadArguments)
        assert (operation.entry, arguments.deliveries) == ("7-1", 2)
        kept = dict(zip(arguments.arguments[::2], arguments.arguments[1::2], strict=True))
        assert kept[b"payload"] == bad.payload[:KEPT]
        assert kept[b"type"] == bad.type[:KEPT]


def test_the_sentences_are_short_and_print_on_one_line() -> None:
    for bad in BAD:
        sentence = str(_decoded(bad).arguments.flat()[1])
        assert sentence.isprintable(), sentence
        assert len(sentence) < 300, sentence


@pytest.mark.one_shard
async def test_each_is_buried_and_its_peer_answered_and_what_is_good_between_them_is_processed(
    shard: Shard,
) -> None:
    good = [e.invite(e.ALICE, to=f"nobody-{number}") for number in range(0, len(BAD), BATCH)]
    expected: list[tuple[bytes, bytes, bytes]] = []
    for number, (kind, payload) in enumerate(good):
        bad = BAD[number * BATCH : (number + 1) * BATCH]
        operations = [await _publish(shard, each) for each in bad]
        operations.insert(len(bad) // 2, await shard.publish(kind, payload))
        outcomes = await shard.settle(*operations)
        assert {each.status for each in outcomes} == {Status.DONE}
        expected += [
            (each.type[:KEPT], each.payload[:KEPT], operation.entry.encode())
            for each, operation in zip(bad, (o for o in operations if o.rule == "dead"), strict=True)
        ]

    letters = [fields for _, fields in await shard.client.xrange(shard.keys.dead)]
    assert [(each[b"type"], each[b"payload"], each[b"entry"]) for each in letters] == expected
    for fields in letters:
        assert fields.keys() - {b"cut:type", b"cut:payload"} == {
            b"type",
            b"payload",
            b"error",
            b"entry",
            b"deliveries",
        }
        assert fields[b"deliveries"] == b"1"
        assert fields[b"error"].startswith(b"field ")

    told = await shard.told()
    assert len(of_type(told, "inviteRejected")) == len(good)
    answers = of_type(told, "answer")
    assert len(answers) == sum(bad.known for bad in BAD)
    for answer in answers:
        assert (answer.peers, answer.users) == ([ASKING["id"]], [ASKING["user"]])
        assert (answer.payload["code"], answer.payload["reason"]) == (400, "invalid")
    assert set(e.types(told)) == {"answer", "inviteRejected", "INVITE_COMPLETED"}


async def _publish(shard: Shard, bad: Malformed) -> Operation:
    entry = await shard.client.xadd(
        shard.keys.events, {"type": bad.type, "payload": bad.payload}, id=shard.entry_id()
    )
    await shard.client.xreadgroup("workers", "test", {shard.keys.events: ">"}, count=1)
    return decode_event_entry(
        Entry(entry.decode(), {b"type": bad.type, b"payload": bad.payload}), max_deliveries=5
    )


async def test_the_answer_says_as_much_of_the_invite_as_could_be_read(shard: Shard) -> None:
    payload = {"peer": e.ALICE, "from": 5, "to": "a b", "inviteId": "i", "transaction": "t"}
    told = await shard.event("accept", payload)
    assert e.one(told, "answer").payload == {
        "inviteId": "i", "from": None, "to": "a b", "request": "accept", "transaction": "t", "code": 400,
        "reason": "invalid",
    }  # fmt: skip


async def test_the_answer_to_a_bad_stop_names_the_callee(shard: Shard) -> None:
    told = await shard.event(
        "stopInvite", {"peer": e.ALICE, "callee": "bob", "inviteId": "i", "errorCode": 1}
    )
    answer = e.one(told, "answer").payload
    assert (answer["request"], answer["inviteId"], answer["to"]) == ("stopInvite", "i", "bob")


@pytest.mark.parametrize("transaction", [True, [], {"a": 1}, 1.5, "x" * 256, 2**53, -(2**53), 10**30])
async def test_a_transaction_that_is_none_is_not_sent_back(shard: Shard, transaction: object) -> None:
    told = await shard.event("getInvitations", {"peer": e.ALICE, "transaction": transaction})
    assert e.outcome(told, "answer") == (400, "invalid")
    assert "transaction" not in e.one(told, "answer").payload


@pytest.mark.parametrize("transaction", ["", "x" * 255, "\u00e9" * 255, 2**53 - 1, 1 - 2**53])
async def test_a_valid_transaction_of_an_invalid_event_is_sent_back(
    shard: Shard, transaction: object
) -> None:
    told = await shard.event("accept", {"peer": e.ALICE, "transaction": transaction})
    assert e.one(told, "answer").payload["transaction"] == transaction


async def test_a_bad_event_without_a_known_peer_is_answered_to_nobody(shard: Shard) -> None:
    assert await shard.event("joined", {"userId": "a b", "roomId": "r"}) == []
    [letter] = await shard.dead()
    assert letter["type"] == "joined"


async def test_an_entry_that_was_trimmed_while_pending_is_kept_with_its_id(shard: Shard) -> None:
    operation = await shard.publish(*e.registered("phone"))
    await shard.client.xtrim(shard.keys.events, maxlen=0, approximate=False)
    [found] = await shard.settle(decode_event_entry(Entry(operation.entry, {}), max_deliveries=5))

    assert found.status is Status.DONE
    [letter] = await shard.dead()
    assert set(letter) == {"error", "entry", "deliveries"}
    assert letter["entry"] == operation.entry
    assert letter["error"].startswith("the entry is empty")


def test_an_entry_without_a_payload_is_named() -> None:
    operation = decode_event_entry(Entry("1-1", {b"type": b"invite"}), max_deliveries=5)
    assert operation.arguments.flat()[:3] == ("invite", "field payload is missing", 1)


def test_an_entry_without_a_type_is_named() -> None:
    operation = decode_event_entry(Entry("1-1", {b"payload": b"{}"}), max_deliveries=5)
    assert str(operation.arguments.flat()[1]).startswith("field type is missing")


@pytest.mark.parametrize(
    ("deliveries", "handler"), [(1, "joined"), (5, "joined"), (6, "dead"), (100, "dead")]
)
def test_what_failed_too_often_is_buried(deliveries: int, handler: str) -> None:
    fields = {b"type": b"joined", b"payload": b'{"userId":"u","roomId":"r"}'}
    operation = decode_event_entry(Entry("1-1", fields, deliveries), max_deliveries=5)
    assert operation.rule == handler
    if handler == "dead":
        assert operation.arguments.flat()[2] == deliveries
        assert f"failed {deliveries - 1} times" in str(operation.arguments.flat()[1])


def test_the_nearest_type_is_suggested() -> None:
    operation = decode_event_entry(Entry("1-1", {b"type": b"invitte", b"payload": b"{}"}), max_deliveries=5)
    assert (
        operation.arguments.flat()[1]
        == 'field type is the text "invitte", which is no event; did you mean invite?'
    )


def test_unknown_fields_are_ignored_everywhere() -> None:
    for kind, payload in VALID:
        more: Json = {"unknown": [1], **payload}
        for name in ("peer", "registry"):
            if name in payload:
                more[name] = {"unknown": {"a": 1}, **payload[name]}
        assert _handler(kind, more) == _handler(kind, payload) != "dead"


def _handler(kind: str, payload: Json) -> str:
    fields = {b"type": kind.encode(), b"payload": json.dumps(payload).encode()}
    return decode_event_entry(Entry("1-1", fields), max_deliveries=5).rule


def test_no_depth_of_nesting_raises() -> None:
    """Neither of the readers that a context passes through may run out of stack."""
    raised = []
    for depth in range(1, 1_100):
        for opening, closing in ((b"[", b"]"), (b'{"a":', b"}")):
            context = opening * depth + (b"" if opening == b"[" else b"1") + closing * depth
            payload = (
                b'{"peer":{"id":"a","user":"u"},"to":"b","inviteId":"1","room":"r","context":'
                + context
                + b"}"
            )
            try:
                decode_event_entry(Entry("1-1", {b"type": b"invite", b"payload": payload}), max_deliveries=5)
            except RecursionError:
                raised.append(depth)
    assert raised == []


def test_a_dead_letter_can_be_made_of_any_entry() -> None:
    for bad in BAD:
        fields = {b"type": bad.type, b"payload": bad.payload}
        assert dead_event(Entry("1-1", fields), "it failed").rule == "dead"
