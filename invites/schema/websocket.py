"""The WebSocket of a gateway in the AsyncAPI document: one channel, whose messages are frames."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from invites.frames import LOGIN, LOGOUT, TO_DEVICES, Login
from invites.notifications import PAYLOADS
from invites.schema.examples import EVENTS, FRAMES, NOTIFICATIONS
from invites.schema.json_schema import device_events, entry

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

NAME: Final = "websocket"
SERVER: Final = "gateway"

_TEXT: Final = {"type": "string"}


def channel() -> dict[str, Any]:
    """The channel between devices and their gateway."""
    return {
        "address": "/ws",
        "description": "Each message is a text frame. The first one of a device is a login: contract/websocket.md.",
        "servers": [{"$ref": f"#/servers/{SERVER}"}],
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages()},
        "bindings": {"ws": {"method": "GET"}},
    }


def operations() -> dict[str, Any]:
    """The gateway receives from devices, and sends to them."""
    return {
        "receiveFromDevices": _operation("receive", from_devices()),
        "sendToDevices": _operation("send", to_devices()),
    }


def messages() -> dict[str, Any]:
    """All messages by name. Their payloads are whole frames."""
    return {**from_devices(), **to_devices()}


def from_devices() -> dict[str, Any]:
    """What a device may send."""
    events = device_events()
    sent = {kind: _without_set_fields(EVENTS[kind], struct) for kind, struct in events.items()}
    logout = {"type": "object", "properties": {"type": {"const": LOGOUT}}, "required": ["type"]}
    return {
        **_messages("fromDevice", {LOGIN: Login}, FRAMES),
        f"fromDevice.{LOGOUT}": _message(LOGOUT, "The device signs off.", logout, {"type": LOGOUT}),
        **_messages("fromDevice", events, sent, traceparent=_TEXT),
    }


def to_devices() -> dict[str, Any]:
    """What a device may get."""
    return {
        **_messages("toDevice", TO_DEVICES, FRAMES),
        **_messages("toDevice", PAYLOADS, NOTIFICATIONS, ("id",), id=_TEXT, traceparent=_TEXT),
    }


def _messages(
    way: str,
    structs: Mapping[str, type[Any]],
    examples: Mapping[str, Any],
    required: Iterable[str] = (),
    **more: dict[str, Any],
) -> dict[str, Any]:
    found = {}
    for kind, struct in structs.items():
        schema = entry(kind, f"#/components/schemas/{struct.__name__}", required, **more)
        example = {"type": kind, **dict.fromkeys(required, "0-1-1"), "payload": examples[kind]}
        summary = (struct.__doc__ or "").partition("\n")[0]
        found[f"{way}.{kind}"] = _message(kind, summary, schema, example)
    return found


def _message(kind: str, summary: str, schema: dict[str, Any], example: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": kind,
        "summary": summary,
        "contentType": "application/json",
        "payload": schema,
        "examples": [{"name": kind, "payload": example}],
    }


def _operation(action: str, names: Iterable[str]) -> dict[str, Any]:
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{NAME}"},
        "messages": [{"$ref": f"#/channels/{NAME}/messages/{name}"} for name in names],
    }


def _without_set_fields(payload: Mapping[str, Any], struct: type[msgspec.Struct]) -> dict[str, Any]:
    names = {field.encode_name for field in msgspec.structs.fields(struct)}
    return {name: value for name, value in payload.items() if name in names}
