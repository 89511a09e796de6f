"""The contract as an AsyncAPI 3 document: the streams, the events, and the notifications."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from invites.events.protocol import EVENT_STRUCTS
from invites.notifications import PAYLOADS
from invites.schema import websocket
from invites.schema.examples import EVENTS, NOTIFICATIONS
from invites.schema.json_schema import VERSION, event_components, frame_components, notification_components

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_SHARD: Final = {
    "description": "The number of the shard, in braces. An event belongs to the shard of its routing key: the CRC-32 of"
    " the key modulo the number of shards. A gateway reads the notifications of all shards.",
    "examples": ["{0}", "{1}"],
}
_TEXT: Final = {"type": "string"}
_NAMES: Final = {"type": "string", "description": "A JSON list of texts."}


def document() -> dict[str, Any]:
    """The AsyncAPI document of the workers, which receive events and send notifications, and of their gateway."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "invites",
            "version": VERSION,
            "description": "Call invitations over Redis or Valkey Streams. An entry of a stream has flat fields; the"
            " field `payload` is the message's payload as JSON, the other fields are its headers.",
        },
        "defaultContentType": "application/json",
        "servers": {
            "local": {"host": "127.0.0.1:6379", "protocol": "redis"},
            websocket.SERVER: {
                "host": "127.0.0.1:8090",
                "protocol": "ws",
                "description": "`invites gateway`.",
            },
        },
        "channels": {
            "events": _channel("events", "What publishers write.", EVENT_STRUCTS),
            "notifications": _channel(
                "notifications", "What gateways and services read, each with a group of its own.", PAYLOADS
            ),
            websocket.NAME: websocket.channel(),
        },
        "operations": {
            "receiveEvents": _operation("receive", "events", EVENT_STRUCTS),
            "sendNotifications": _operation("send", "notifications", PAYLOADS),
            **websocket.operations(),
        },
        "components": {
            "messages": {
                **_messages(EVENT_STRUCTS, EVENTS, traceparent=_TEXT),
                **_messages(PAYLOADS, NOTIFICATIONS, id=_TEXT, peers=_NAMES, users=_NAMES, traceparent=_TEXT),
                **websocket.messages(),
            },
            "schemas": {
                **frame_components("#/components/schemas/{name}"),
                **event_components("#/components/schemas/{name}"),
                **notification_components("#/components/schemas/{name}"),
            },
        },
    }


def _channel(stream: str, description: str, kinds: Iterable[str]) -> dict[str, Any]:
    return {
        "address": f"invites:{{shard}}:{stream}",
        "servers": [{"$ref": "#/servers/local"}],
        "description": description,
        "parameters": {"shard": _SHARD},
        "messages": {kind: {"$ref": f"#/components/messages/{kind}"} for kind in kinds},
        "bindings": {"redis": {}},
    }


def _operation(action: str, channel: str, kinds: Iterable[str]) -> dict[str, Any]:
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{channel}"},
        "messages": [{"$ref": f"#/channels/{channel}/messages/{kind}"} for kind in kinds],
        "bindings": {"redis": {}},
    }


def _messages(
    structs: Mapping[str, type[Any]], examples: Mapping[str, Any], **headers: dict[str, Any]
) -> dict[str, Any]:
    return {
        kind: {
            "name": kind,
            "summary": (struct.__doc__ or "").partition("\n")[0],
            "contentType": "application/json",
            "headers": {
                "type": "object",
                "properties": {"type": {"const": kind}, **headers},
                "required": ["type", *(name for name in headers if name != "traceparent")],
            },
            "payload": {"$ref": f"#/components/schemas/{struct.__name__}"},
            "examples": [{"name": kind, "payload": examples[kind]}],
            "bindings": {"redis": {}},
        }
        for kind, struct in structs.items()
    }
