"""From a stream entry to the call of a rule. No content of an entry makes anything here raise."""

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from invites.events import protocol
from invites.events.arguments import (
    BundleArguments,
    MisroutedArguments,
    RelayArguments,
    RelayedEventArguments,
)
from invites.events.dead_letter import dead_event, dead_internal, texts_of, unusable
from invites.events.entry import Entry
from invites.events.fields import BadEvent
from invites.events.operation import Operation, operation_of
from invites.events.routing import routing_key
from invites.keys import Keys, shard_of

_EVENT: Final = "event"
"""The kind of a relay entry that carries an event which was published to another shard than its own."""

_STRINGS: Final = msgspec.json.Decoder(list[str])
_BUNDLE: Final = msgspec.json.Decoder(list[list[str]])
_FIRST: Final = 3
"""Each message of a bundle begins with its kind, its name and the entry that caused it."""
_ENTRY_ID: Final = re.compile(r"[0-9]{1,20}-[0-9]{1,20}")


def decode_event_entry(entry: Entry, *, max_deliveries: int, keys: Keys | None = None) -> Operation:
    """Decode an entry of the events stream of the shard `keys` (None: the only one).

    An entry that cannot be processed becomes a dead letter, and its sender gets the answer 400. An event that belongs
    to another shard is sent there.
    """
    return _event(entry, max_deliveries, keys).of_trace(entry)


def _event(entry: Entry, max_deliveries: int, keys: Keys | None) -> Operation:
    sentence = unusable(entry, max_deliveries)
    if sentence:
        return dead_event(entry, sentence)
    payload = entry.fields.get(b"payload")
    if payload is None:
        return dead_event(entry, "field payload is missing")
    try:
        event = protocol.decode_event(entry.text(b"type"), payload)
    except BadEvent as error:
        return dead_event(entry, str(error))
    if keys is not None and keys.shards > 1:
        name = routing_key(event)
        if shard_of(name, keys.shards) != keys.shard:
            return Operation(
                "misrouted", entry.id, MisroutedArguments(name, entry.fields.get(b"type", b""), payload)
            )
    return operation_of(entry.id, event)


def decode_relay_entry(entry: Entry, *, max_deliveries: int, keys: Keys | None = None) -> Operation:
    """Decode an entry of the relay stream of the shard `keys` (None: the only one).

    The entry continues what an earlier commit began, or is meant for another shard: `shard` then says which.
    """
    return _relay(entry, max_deliveries, keys).of_trace(entry)


def _relay(entry: Entry, max_deliveries: int, keys: Keys | None) -> Operation:
    sentence = unusable(entry, max_deliveries)
    if sentence:
        return dead_internal(entry, "relay", sentence)
    try:
        texts = texts_of(entry)
        return (_bundle if "messages" in texts else _relayed)(entry.id, texts, keys)
    except KeyError as missing:
        return dead_internal(entry, "relay", f"field {missing.args[0]} is missing")
    except BadEvent as error:
        return dead_internal(entry, "relay", str(error))
    except msgspec.DecodeError:
        return dead_internal(entry, "relay", "field arguments is no list of texts in JSON")
    except ValueError:
        return dead_internal(entry, "relay", "field shard is no number")


def _relayed(entry: str, texts: Mapping[str, str], keys: Keys | None) -> Operation:
    kind, name, first = texts["kind"], texts["name"], texts["entry"]
    if not _ENTRY_ID.fullmatch(first):
        raise BadEvent("field entry is no entry id")
    if kind != _EVENT:
        arguments = tuple(_STRINGS.decode(texts["arguments"]))
        return Operation(
            "relay", entry, RelayArguments(kind, name, first, arguments), shard=_target(texts, keys)
        )
    event = protocol.decode_event(texts["type"], texts["payload"].encode())
    own = operation_of(first, event)
    relayed = RelayedEventArguments(first, own.rule, own.arguments)
    return Operation("relayedEvent", entry, relayed, event, shard=_target(texts, keys))


def _bundle(entry: str, texts: Mapping[str, str], keys: Keys | None) -> Operation:
    try:
        messages = _BUNDLE.decode(texts["messages"])
    except msgspec.DecodeError:
        messages = []
    if not messages or not all(len(one) >= _FIRST and _ENTRY_ID.fullmatch(one[2]) for one in messages):
        raise BadEvent("field messages is no list of messages: [[kind, name, entry, text…]…] in JSON")
    arguments = BundleArguments(texts["messages"])
    return Operation("bundle", entry, arguments, shard=_target({"shard": texts["shard"]}, keys))


def _target(texts: Mapping[str, str], keys: Keys | None) -> int | None:
    """The shard that a relay entry is for; None for the shard that it is from."""
    if keys is None:
        return None
    named = texts.get("shard")
    shard = int(named) if named is not None else shard_of(texts["name"], keys.shards)
    if not 0 <= shard < keys.shards:
        raise BadEvent(f"field shard is {shard}, but there are only the shards 0 to {keys.shards - 1}")
    return None if shard == keys.shard else shard
