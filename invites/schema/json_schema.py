"""JSON Schema (draft 2020-12) of the events, the notifications and the configuration, from their types."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import msgspec

from invites.config import Config
from invites.config.loading import LIFTED
from invites.events.protocol import EVENT_STRUCTS
from invites.frames import SET_BY_GATEWAY, TO_DEVICES, Login
from invites.notifications import PAYLOADS

if TYPE_CHECKING:
    from collections.abc import Iterable

VERSION: Final = "1.0"
"""The version of the contract: PROTOCOL.md says what may change in it."""

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

Schema = dict[str, Any]


def events() -> Schema:
    """An entry of an `events` stream: `type` and `payload`. In the stream the payload is JSON in a text."""
    components = event_components()
    return {
        **_head("Event"),
        "oneOf": [
            entry(kind, f"#/$defs/{struct.__name__}", traceparent={"type": "string"})
            for kind, struct in EVENT_STRUCTS.items()
        ],
        "$defs": components,
    }


def notifications() -> Schema:
    """An entry of a `notifications` stream. In the stream `peers`, `users` and `payload` are JSON in texts."""
    names = {"type": "array", "items": {"type": "string"}}
    more: Schema = {
        "id": {"type": "string"},
        "peers": names,
        "users": names,
        "traceparent": {"type": "string"},
    }
    return {
        **_head("Notification"),
        "oneOf": [
            entry(kind, f"#/$defs/{struct.__name__}", required=("id", "peers", "users"), **more)
            for kind, struct in PAYLOADS.items()
        ],
        "$defs": notification_components(),
    }


def config() -> Schema:
    """`config.json`. Unknown sections are the vendor's, and may hold anything."""
    (top,), components = msgspec.json.schema_components(
        [Config], schema_hook=lambda _: {"type": "string"}, ref_template="#/$defs/{name}"
    )
    for name, section in components.items():
        section["additionalProperties"] = name == "Config"
    flags = components["Invites"]["properties"]
    components["Basic"]["properties"] |= {name: flags[name] for name in LIFTED}
    return {**_head("Configuration"), **top, "$defs": _portable(components)}


def event_components(ref_template: str = "#/$defs/{name}") -> Schema:
    """The payload of each event, by the name of its type in `invites.events.protocol`."""
    return _components(map(_without_raw, EVENT_STRUCTS.values()), ref_template)


def notification_components(ref_template: str = "#/$defs/{name}") -> Schema:
    """The payload of each notification, by the name of its type in `invites.notifications`."""
    components = _components(PAYLOADS.values(), ref_template)
    for component in components.values():
        _never_null(component)
    return components


def device_events() -> dict[str, type[msgspec.Struct]]:
    """The payload of each event that a device can send: without the fields that its gateway sets."""
    return {
        kind: _without_raw(EVENT_STRUCTS[kind], without, f"{EVENT_STRUCTS[kind].__name__}OfDevice")
        for kind, without in SET_BY_GATEWAY.items()
    }


def frame_components(ref_template: str = "#/$defs/{name}") -> Schema:
    """The payloads of `device_events` and of `invites.frames`, by the names of their types."""
    components = _components((*device_events().values(), Login, *TO_DEVICES.values()), ref_template)
    for struct in TO_DEVICES.values():
        _never_null(components[struct.__name__])
    return components


def _head(title: str) -> Schema:
    return {"$schema": _DIALECT, "title": title, "$comment": f"Contract {VERSION}"}


def entry(kind: str, ref: str, required: Iterable[str] = (), **more: Schema) -> Schema:
    """An object with a `type`, a `payload` and more."""
    return {
        "type": "object",
        "properties": {"type": {"const": kind}, "payload": {"$ref": ref}, **more},
        "required": ["type", "payload", *required],
    }


def _components(structs: Iterable[Any], ref_template: str) -> Schema:
    _, components = msgspec.json.schema_components(structs, ref_template=ref_template)
    return dict(sorted(_portable(components).items()))


def _without_raw(
    struct: type[msgspec.Struct], without: Iterable[str] = (), name: str | None = None
) -> type[msgspec.Struct]:
    """The same fields, with Any for JSON that is passed on as it came: its default cannot be written into a schema.

    Omits the fields that are called `without` on the wire.
    """
    fields: list[Any] = [
        (one.name, Any, msgspec.field(name=one.encode_name, default=None))
        if one.type is msgspec.Raw
        else (one.name, one.type, msgspec.field(name=one.encode_name, default=one.default))
        for one in msgspec.structs.fields(struct)
        if one.encode_name not in without
    ]
    return msgspec.defstruct(
        name or struct.__name__, fields, kw_only=True, namespace={"__doc__": struct.__doc__}
    )


def _never_null(component: Schema) -> None:
    """A field that is absent where it does not apply is never null."""
    required = component.get("required", ())
    for name, schema in component["properties"].items():
        if name not in required:
            schema.pop("default", None)
            kinds = [one for one in schema.pop("anyOf", ()) if one != {"type": "null"}]
            schema.update(kinds[0] if len(kinds) == 1 else {"anyOf": kinds} if kinds else {})


def _portable(schema: Any) -> Any:  # noqa: ANN401 - JSON
    """The same for other languages: patterns as in ECMA 262, names of fields as on the wire."""
    if isinstance(schema, dict):
        return {
            name: _PORTABLE.get(name, str)(value) if isinstance(value, str) else _portable(value)
            for name, value in schema.items()
        }
    return [_portable(one) for one in schema] if isinstance(schema, list) else schema


def _pattern(found: str) -> str:
    return found.replace(r"\A", "^").replace(r"\Z", "$")


def _description(found: str) -> str:
    return re.sub(r"`\w+`", lambda name: re.sub(r"_(\w)", lambda word: word[1].upper(), name[0]), found)


_PORTABLE: Final = {"pattern": _pattern, "description": _description}
