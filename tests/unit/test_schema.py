"""The contract for machines says the same as the types, the pages and the examples."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any, Final

import jsonschema
import msgspec
import pytest

from invites.config import ConfigError, parse
from invites.events.fields import BadEvent
from invites.events.protocol import EVENT_STRUCTS, EVENT_TYPES, Peer, decode_event
from invites.frames import LOGIN, LOGOUT, Refusal, Welcome
from invites.notifications import PAYLOADS, BadNotification, decode_notification
from invites.schema import SCHEMAS, text_of, typescript, websocket
from invites.schema.examples import EVENTS, NOTIFICATIONS
from invites.schema.json_schema import VERSION
from tests.support.malformed import VALID, malformed
from workers.gateway.connection import frame
from workers.gateway.messages import BadMessage, decode_message, event_of, login_of

_FILES: Final = Path(__file__).resolve().parents[2] / "deploy" / "schema"
_PROTOCOL: Final = (Path(__file__).resolve().parents[2] / "invites" / "PROTOCOL.md").read_text("utf-8")

# A schema cannot express bytes, depth or the syntax of RE2, nor faults of the text outside the JSON.
_BEYOND: Final = (
    "bytes; at most",
    "levels deep",
    "no regular expression",
    "surrogate",
    "byte order mark",
    ", the userId, not",
)


@cache
def _validator(name: str) -> Any:
    schema = SCHEMAS[name]()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_files_are_not_stale(name: str) -> None:
    assert (_FILES / f"{name}.json").read_text("utf-8") == text_of(name), "run make schema"


def test_each_type_has_an_example() -> None:
    assert tuple(EVENTS) == EVENT_TYPES
    assert tuple(NOTIFICATIONS) == tuple(PAYLOADS)


@pytest.mark.parametrize(("kind", "payload"), EVENTS.items())
def test_an_example_of_an_event_is_one(kind: str, payload: dict[str, Any]) -> None:
    decode_event(kind, json.dumps(payload).encode())
    _validator("events").validate({"type": kind, "payload": payload})


@pytest.mark.parametrize(("kind", "payload"), NOTIFICATIONS.items())
def test_an_example_of_a_notification_is_one(kind: str, payload: dict[str, Any]) -> None:
    fields = {
        b"id": b"0-1-1",
        b"type": kind.encode(),
        b"peers": b"[]",
        b"users": b"[]",
        b"payload": json.dumps(payload).encode(),
    }
    assert json.loads(msgspec.json.encode(decode_notification(fields).payload)) == payload
    _validator("notifications").validate(
        {"type": kind, "id": "0-1-1", "peers": [], "users": [], "payload": payload}
    )


def test_the_types_of_the_node_client_are_not_stale() -> None:
    source = _FILES.parent / "node" / "src"
    assert (source / "contract.ts").read_text("utf-8") == typescript.text(), "run make schema"
    routed = re.findall(r'case "(\w+)":', (source / "routing.ts").read_text("utf-8"))
    assert sorted(routed) == sorted(EVENT_TYPES), "name its routing key in deploy/node/src/routing.ts"


@pytest.mark.parametrize(
    ("schema", "declared"),
    [
        (
            {"enum": ["a", "b"], "description": "a /* or */ b"},
            ["/** a /* or * / b */", 'export type T = "a" | "b";'],
        ),
        (
            {"type": "object", "additionalProperties": {"type": "integer"}},
            ["export type T = Record<string, number>;"],
        ),
        ({"type": "object"}, ["export type T = Record<string, unknown>;"]),
        (
            {"properties": {"a-b": {"const": 7}, "c": {"anyOf": [{"$ref": "#/$defs/X"}, {"type": "null"}]}}},
            ["export interface T {", '  "a-b"?: 7;', "  c?: X | null;", "}"],
        ),
        (
            {"properties": {"d": {"type": "array", "items": {}}}, "required": ["d"]},
            ["export interface T {", "  d: readonly (unknown)[];", "}"],
        ),
    ],
)
def test_a_schema_as_a_type_of_typescript(schema: dict[str, Any], declared: list[str]) -> None:
    assert list(typescript._declaration("T", schema)) == declared


@pytest.mark.parametrize(("kind", "payload"), VALID)
def test_the_schema_takes_what_workers_take(kind: str, payload: Any) -> None:
    _validator("events").validate({"type": kind, "payload": payload})


def test_the_schema_refuses_what_workers_refuse() -> None:
    taken = []
    for bad in malformed():
        try:
            kind, payload = bad.type.decode(), msgspec.json.decode(bad.payload)
        except (ValueError, RecursionError):
            continue
        try:
            decode_event(kind, bad.payload)
        except BadEvent as error:
            # Python's `$` also matches before a line end. That of ECMA 262, which JSON Schema means, does not.
            if (
                any(word in str(error) for word in _BEYOND)
                or "line end" in bad.name
                or " one of " in bad.name
            ):
                continue
            if _validator("events").is_valid({"type": kind, "payload": payload}):
                taken.append((bad.name, str(error)))
    assert taken == []


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        '{"$schema":"deploy/schema/config.json","sippo":{"port":1}}',
        '{"redis":{"shards":3}}',
        '{"invites":{"basic":{"parallelSip":true,"wac":{"address":"http://x"}}}}',
    ],
)
def test_the_schema_takes_a_configuration_that_workers_take(text: str) -> None:
    parse(json.loads(text))
    _validator("config").validate(json.loads(text))


@pytest.mark.parametrize(
    "text", ['{"redis":{"shards":0}}', '{"invites":{"ringTimeout":"60s"}}', '{"http":[]}']
)
def test_the_schema_refuses_a_configuration_that_workers_refuse(text: str) -> None:
    with pytest.raises(ConfigError):
        parse(json.loads(text))
    assert not _validator("config").is_valid(json.loads(text))


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({b"id": None}, "field id is missing"),
        ({b"type": None}, "field type is missing"),
        ({b"peers": b"{}"}, "field peers of roomCleaned: Expected `array`, got `object`"),
        ({b"users": b"[1]"}, "field users of roomCleaned: Expected `str`, got `int` - at `$[0]`"),
        ({b"payload": b"{}"}, "field payload of roomCleaned: Object missing required field `roomId`"),
        ({b"payload": b"{"}, "field payload of roomCleaned: Input data was truncated"),
        ({b"id": b"\xff"}, "field id of roomCleaned: 'utf-8' codec can't decode byte 0xff in position 0"),
    ],
)
def test_an_entry_that_is_no_notification_is_refused_with_the_field(
    changed: dict[bytes, bytes | None], sentence: str
) -> None:
    fields: dict[bytes, bytes | None] = {
        b"id": b"0-1-1",
        b"type": b"roomCleaned",
        b"peers": b"[]",
        b"users": b"[]",
        b"payload": b'{"roomId":"r","invites":0}',
    }
    found = {name: value for name, value in (fields | changed).items() if value is not None}
    with pytest.raises(BadNotification) as raised:
        decode_notification(found)
    assert str(raised.value).startswith(sentence)


def test_a_reader_goes_on_when_the_contract_grows() -> None:
    fields = {
        b"id": b"0-1-1",
        b"type": b"roomPainted",
        b"peers": b'["p"]',
        b"users": b"[]",
        b"payload": b'{"x":1}',
    }
    later = decode_notification(fields, shard=2, entry="7-1")
    assert (later.payload, later.raw, later.peers, later.at) == (None, b'{"x":1}', ("p",), 7)
    more = fields | {
        b"type": b"serverEmptied",
        b"payload": b'{"shard":1,"colour":"red"}',
        b"traceparent": b"00",
    }
    assert msgspec.to_builtins(decode_notification(more).payload) == {"shard": 1}


def _references(found: Any) -> set[str]:
    if isinstance(found, dict):
        own = {found["$ref"]} if "$ref" in found else set()
        return own.union(*map(_references, found.values()))
    return set().union(*map(_references, found)) if isinstance(found, list) else set()


def test_each_reference_of_the_asyncapi_document_leads_somewhere() -> None:
    document = SCHEMAS["asyncapi"]()
    for reference in _references(document):
        place = document
        for step in reference.removeprefix("#/").split("/"):
            place = place[step]
    messages = set(document["components"]["messages"])
    assert messages == set(EVENT_STRUCTS) | set(PAYLOADS) | set(websocket.messages())
    assert messages == {kind for channel in document["channels"].values() for kind in channel["messages"]}


@cache
def _frame_validator(name: str) -> Any:
    document = SCHEMAS["asyncapi"]()
    schema = document["components"]["messages"][name]["payload"]
    return jsonschema.Draft202012Validator({**schema, "components": document["components"]})


@pytest.mark.parametrize("name", websocket.messages())
def test_an_example_of_a_frame_is_one(name: str) -> None:
    (example,) = (one["payload"] for one in websocket.messages()[name]["examples"])
    _frame_validator(name).validate(example)
    with pytest.raises(jsonschema.ValidationError):
        _frame_validator(name).validate({**example, "type": "other"})


@pytest.mark.parametrize("name", websocket.from_devices())
def test_the_gateway_takes_the_frame_of_a_device_and_no_field_is_left_out(name: str) -> None:
    """What the document requires is what the gateway requires."""
    (example,) = (one["payload"] for one in websocket.from_devices()[name]["examples"])
    decodes = login_of if example["type"] == LOGIN else lambda said: event_of(said, Peer("p", "bob"))
    payload = example.get("payload", {})
    for without in (None, *payload):
        frame = {**example, "payload": {key: payload[key] for key in payload if key != without}}
        message = decode_message(json.dumps(frame))
        if message.type == LOGOUT:
            continue
        if _frame_validator(name).is_valid(frame):
            decodes(message)
        else:
            with pytest.raises(BadMessage):
                decodes(message)


@pytest.mark.parametrize("payload", [{}, {"token": 5}, {"token": "x", "resume": 5}])
def test_the_document_and_the_gateway_refuse_the_same_logins(payload: dict[str, Any]) -> None:
    assert not _frame_validator("fromDevice.login").is_valid({"type": "login", "payload": payload})
    with pytest.raises(BadMessage, match="the first message must be a login with a token"):
        login_of(decode_message(json.dumps({"type": "login", "payload": payload})))


@pytest.mark.parametrize(("kind", "payload"), NOTIFICATIONS.items())
def test_the_document_has_what_the_gateway_sends_for_a_notification(
    kind: str, payload: dict[str, Any]
) -> None:
    sent = frame(kind, payload, "0-1-1", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
    _frame_validator(f"toDevice.{kind}").validate(json.loads(sent))


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        ("welcome", Welcome(peer="p", user="bob", device=None, expires=60_000)),
        ("error", Refusal(message="a message is text, not binary")),
        ("error", Refusal(message="field from is missing", request="accept", transaction=5)),
    ],
)
def test_the_document_has_what_else_the_gateway_sends(kind: str, payload: msgspec.Struct) -> None:
    _frame_validator(f"toDevice.{kind}").validate(json.loads(frame(kind, payload)))


def test_the_contract_names_its_version() -> None:
    assert f"This is version {VERSION} of the contract" in _PROTOCOL
    assert SCHEMAS["asyncapi"]()["info"]["version"] == VERSION
