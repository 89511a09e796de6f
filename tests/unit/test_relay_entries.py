"""From an entry of the relay stream to its operation, or to a dead letter if no correct worker can have written it."""

import json

import pytest

from invites.events.arguments import BundleArguments, DeadArguments, RelayArguments, RelayedEventArguments
from invites.events.decoding import decode_relay_entry
from invites.events.entry import Entry, entries_of, order
from invites.events.operation import Operation
from invites.keys import Keys, shard_of
from tests.support import events as e

SHARDS = 7
HERE = Keys(shard=shard_of("bob", SHARDS), shards=SHARDS)

PAGE = {b"kind": b"legs_start", b"name": b"bob", b"entry": b"5-1", b"arguments": b'["alice|1|team","20"]'}
"""A page of a group call."""

_TYPE, _PAYLOAD = e.accept("phone")
EVENT = {
    b"kind": b"event", b"name": b"bob", b"entry": b"5-1", b"type": _TYPE.encode(),
    b"payload": json.dumps(_PAYLOAD).encode(),
}  # fmt: skip
"""An event that was published to another shard."""

BUNDLE = {
    b"kind": b"bundle", b"name": b"", b"entry": b"0-0", b"arguments": b"[]",
    b"shard": str((HERE.shard + 1) % SHARDS).encode(),
    b"messages": b'[["call_started","alice","5-1","alice|1|bob"],["room_freed","r","5-2"]]',
}  # fmt: skip
"""The messages of a commit to another shard."""


def _decoded(fields: dict[bytes, bytes], keys: Keys | None = HERE, deliveries: int = 1) -> Operation:
    return decode_relay_entry(Entry("7-2", fields, deliveries), max_deliveries=5, keys=keys)


def test_a_page_goes_on_with_the_arguments_that_it_brings() -> None:
    operation = _decoded(PAGE)
    assert (operation.rule, operation.entry, operation.shard) == ("relay", "7-2", None)
    assert operation.arguments == RelayArguments("legs_start", "bob", "5-1", ("alice|1|team", "20"))


def test_a_bundle_goes_to_its_shard_as_it_is() -> None:
    operation = _decoded(BUNDLE)
    assert (operation.rule, operation.entry, operation.shard) == ("bundle", "7-2", (HERE.shard + 1) % SHARDS)
    assert isinstance(operation.arguments, BundleArguments)
    assert operation.arguments.flat() == (BUNDLE[b"messages"].decode(),)
    assert operation.arguments.count == 2


def test_an_event_keeps_its_first_entry_and_its_rule() -> None:
    operation = _decoded(EVENT)
    assert (operation.rule, operation.event_rule) == ("relayedEvent", "accept")
    assert isinstance(operation.arguments, RelayedEventArguments)
    assert operation.arguments.flat()[:2] == ("5-1", "accept")
    assert operation.event is not None


@pytest.mark.parametrize(
    ("more", "shard"),
    [
        ({b"name": b"alice"}, shard_of("alice", SHARDS)),
        ({b"shard": str((HERE.shard + 1) % SHARDS).encode()}, (HERE.shard + 1) % SHARDS),
        ({b"name": b"alice", b"shard": str(HERE.shard).encode()}, None),
    ],
)
def test_the_shard_is_that_of_the_name_unless_the_entry_says_which(
    more: dict[bytes, bytes], shard: int | None
) -> None:
    assert shard_of("alice", SHARDS) != HERE.shard
    assert _decoded(PAGE | more).shard == shard
    assert _decoded(PAGE | more, keys=None).shard is None


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        *(
            ({name: value for name, value in PAGE.items() if name != missing}, f"field {missing.decode()} is missing")
            for missing in PAGE
        ),
        ({name: value for name, value in EVENT.items() if name != b"payload"}, "field payload is missing"),
        (PAGE | {b"arguments": b'["a"'}, "field arguments is no list of texts in JSON"),
        (PAGE | {b"arguments": b'["a",5]'}, "field arguments is no list of texts in JSON"),
        ({b"unknown": b"1"}, "field kind is missing"),
        (PAGE | {b"shard": b"two"}, "field shard is no number"),
        (PAGE | {b"entry": b"now"}, "field entry is no entry id"),
        (EVENT | {b"payload": b'{"peer":5}'}, "field peer "),
        ({b"messages": BUNDLE[b"messages"]}, "field shard is missing"),
        (BUNDLE | {b"shard": b"9"}, "field shard is 9, but there are only the shards"),
        *(
            (BUNDLE | {b"messages": raw}, "field messages is no list of messages")
            for raw in (b"", b"[]", b"[[]]", b'[["k","n"]]', b'[["k","n","now"]]', b'[["k","n","1-0",5]]', b'{"k":[]}')
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_decoded_is_a_dead_letter_of_the_whole_entry(
    fields: dict[bytes, bytes], sentence: str
) -> None:
    operation = _decoded(fields)
    arguments = operation.arguments
    assert isinstance(arguments, DeadArguments)
    assert (operation.rule, arguments.type, arguments.deliveries) == ("dead", "relay", 1)
    assert arguments.error.startswith(sentence)
    kept = arguments.arguments
    letter = dict(zip(kept[::2], kept[1::2], strict=True))
    assert letter == {b"type": b"relay"} | {b"field:" + name: value for name, value in fields.items()}


@pytest.mark.parametrize(("fields", "deliveries"), [(PAGE, 6), ({}, 1)])
def test_what_kills_workers_or_is_empty_is_a_dead_letter(fields: dict[bytes, bytes], deliveries: int) -> None:
    operation = _decoded(fields, deliveries=deliveries)
    arguments = operation.arguments
    assert isinstance(arguments, DeadArguments)
    assert operation.rule == "dead"
    assert len(arguments.arguments) == 2 + 2 * len(fields)


def test_an_entry_that_was_trimmed_has_no_fields() -> None:
    assert entries_of(None) == []
    assert entries_of([[b"5-1", [b"type", b"joined"]], [b"5-2", None]]) == [
        Entry("5-1", {b"type": b"joined"}),
        Entry("5-2", {}),
    ]


def test_entries_are_ordered_by_time_and_number() -> None:
    assert sorted(["10-0", "9-20", "9-3", "9"], key=order) == ["9", "9-3", "9-20", "10-0"]
    assert Entry("1700000000000-5", {}).at == 1_700_000_000_000
