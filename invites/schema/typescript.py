"""The contract's types in TypeScript, for the client in `deploy/node/`. `make schema` writes them."""

from __future__ import annotations

import json
import re
import sys
from typing import TYPE_CHECKING, Any, Final

from invites.events.protocol import EVENT_STRUCTS
from invites.notifications import PAYLOADS
from invites.schema.json_schema import VERSION, event_components, notification_components

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_SIMPLE: Final = {
    "string": "string",
    "integer": "number",
    "number": "number",
    "boolean": "boolean",
    "null": "null",
}
_REF: Final = "#/$defs/"
_NAME: Final = re.compile(r"[A-Za-z_]\w*")
_INDENT: Final = "  "


def text() -> str:
    """The module `contract.ts`: a type for each struct, and the types of events and notifications."""
    events, notifications = event_components(), notification_components()
    if shared := events.keys() & notifications.keys():
        raise ValueError(f"an event and a notification share the names {sorted(shared)}")
    lines = [f"// Contract {VERSION}. Written by `make schema` from the types of the workers: do not edit."]
    for name, schema in {**events, **notifications}.items():
        lines += ["", *_declaration(name, schema)]
    lines += ["", *_index("EventPayloads", "Each type of event and its payload.", EVENT_STRUCTS)]
    lines += ["", *_index("NotificationPayloads", "Each type of notification and its payload.", PAYLOADS)]
    names = ", ".join(json.dumps(kind) for kind in EVENT_STRUCTS)
    lines += ["", f"export const EVENT_TYPES: ReadonlySet<string> = new Set([{names}]);"]
    return "\n".join(lines) + "\n"


def _declaration(name: str, schema: Mapping[str, Any]) -> Iterator[str]:
    yield from _comment(schema)
    if "properties" not in schema:
        yield f"export type {name} = {_type(schema)};"
        return
    required = schema.get("required", ())
    yield f"export interface {name} {{"
    for field, one in schema["properties"].items():
        yield from (_INDENT + line for line in _comment(one))
        yield f"{_INDENT}{_key(field)}{'' if field in required else '?'}: {_type(one)};"
    yield "}"


def _index(name: str, comment: str, structs: Mapping[str, type[Any]]) -> Iterator[str]:
    yield f"/** {comment} */"
    yield f"export interface {name} {{"
    for kind, struct in structs.items():
        yield f"{_INDENT}{_key(kind)}: {struct.__name__};"
    yield "}"


def _comment(schema: Mapping[str, Any]) -> Iterator[str]:
    if "description" in schema:
        words = " ".join(schema["description"].split())
        yield f"/** {words.replace('*/', '* /')} */"


def _key(name: str) -> str:
    return name if _NAME.fullmatch(name) else json.dumps(name)


def _type(schema: Mapping[str, Any]) -> str:  # noqa: PLR0911 - one for each kind of schema
    """The type of a schema; a schema without any of these keywords is any JSON."""
    if "$ref" in schema:
        return str(schema["$ref"]).removeprefix(_REF)
    for choice in ("anyOf", "oneOf"):
        if choice in schema:
            return " | ".join(dict.fromkeys(map(_type, schema[choice])))
    if "enum" in schema:
        return " | ".join(map(json.dumps, schema["enum"]))
    if "const" in schema:
        return json.dumps(schema["const"])
    if schema.get("type") == "array":
        return f"readonly ({_type(schema['items'])})[]"
    if schema.get("type") == "object":
        return f"Record<string, {_type(schema.get('additionalProperties', {}))}>"
    return _SIMPLE[schema["type"]] if "type" in schema else "unknown"


if __name__ == "__main__":
    sys.stdout.write(text())
