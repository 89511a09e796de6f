"""Notifications as lines for people and as JSON."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec

if TYPE_CHECKING:
    from invites.events.entry import Entry

_COLOURS: Final = {
    "invitation": "cyan",
    "invitationCancel": "yellow",
    "inviteProgress": "blue",
    "inviteAccepted": "green",
    "inviteRejected": "red",
    "INVITE_COMPLETED": "magenta",
}
# Fields that the line already shows or that are too long for it.
_LEFT_OUT: Final = frozenset({"inviteId", "from", "to", "context", "fromDetails", "mediatypes", "candidates"})


def colour_of(kind: str) -> str | None:
    """The colour of a type of notification, or None."""
    return _COLOURS.get(kind)


def time_of(ms: int) -> str:
    """The local time of day with ms; the number itself if no calendar reaches that far."""
    try:
        return datetime.fromtimestamp(ms / 1000).astimezone().strftime("%H:%M:%S.") + f"{ms % 1000:03d}"
    except (ValueError, OverflowError, OSError):
        return str(ms)


def decoded(value: bytes) -> Any:  # noqa: ANN401 - JSON
    """The value of a JSON field, or its text when it is not JSON."""
    try:
        return msgspec.json.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return value.decode(errors="replace")


def line(entry: Entry) -> str:
    """One notification: time, type, call, rest of the payload, peers."""
    kind = entry.text(b"type")
    payload = decoded(entry.fields.get(b"payload", b""))
    parts = [time_of(entry.at), f"{kind:16}"]
    if isinstance(payload, dict):
        if payload.get("inviteId") is not None:
            parts.append(f"{payload.get('from')} → {payload.get('to')} ({payload['inviteId']})")
        parts.append(_rest(payload))
    else:
        parts.append(str(payload))
    peers = decoded(entry.fields.get(b"peers", b"[]"))
    if isinstance(peers, list) and peers:
        parts.append("to " + ", ".join(map(str, peers)))
    return "  ".join(part for part in parts if part)


def _rest(payload: dict[str, Any]) -> str:
    shown = {
        name: value for name, value in payload.items() if name not in _LEFT_OUT and value not in (None, False)
    }
    if isinstance(payload.get("candidates"), int):
        shown["candidates"] = payload["candidates"]
    return " ".join(f"{name}={_plain(value)}" for name, value in shown.items())


def _plain(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def as_object(entry: Entry) -> dict[str, Any]:
    """One notification for programs: `entry, id, type, peers, users, payload`."""
    return {
        "entry": entry.id,
        "id": entry.text(b"id"),
        "type": entry.text(b"type"),
        **{name: decoded(entry.fields.get(name.encode(), b"null")) for name in ("peers", "users", "payload")},
    }
