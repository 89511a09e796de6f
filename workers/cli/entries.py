"""The entries of the streams about one invite."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Struct

from invites.queries import streams
from invites.values.ref import Ref
from workers.cli.notifications import decoded

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from redis.asyncio import Redis

    from invites.events.entry import Entry
    from invites.queries.invites import InviteView

_BEFORE_MS: Final = 600_000  # a stopInvite may precede its invite
_PRESENCE: Final = frozenset({"registered", "unregistered", "disconnected"})
_ROOMS: Final = frozenset({"left", "roomClosed"})


class Subject(Struct, frozen=True):
    """One invite, with the fields that are still stored (times in ms since 1970)."""

    inviter: str
    invite_id: str
    to: str
    room: str | None = None
    started_at: int | None = None
    ended_at: int | None = None

    @classmethod
    def of(cls, ref: str, invite: InviteView | None) -> Subject:
        """The subject named by `from|inviteId|to`."""
        inviter, invite_id, to = Ref.parse(ref)
        if invite is None:
            return cls(inviter, invite_id, to)
        return cls(inviter, invite_id, to, invite.room, invite.started_at, invite.ended_at)

    @property
    def first(self) -> str:
        """The id of the first entry to look at."""
        return "-" if self.started_at is None else str(max(0, self.started_at - _BEFORE_MS))


async def events_of(client: Redis, stream: str, subject: Subject) -> AsyncIterator[Entry]:
    """The events that name the invite, and the events about its users and its room while it was pending."""
    async for entry in streams.pages(client, stream, subject.first):
        payload = _object(entry)
        if payload and (_names(payload, subject) or _concerns(entry, payload, subject)):
            yield entry


async def notifications_of(client: Redis, stream: str, subject: Subject) -> AsyncIterator[Entry]:
    """The notifications that name the invite."""
    async for entry in streams.pages(client, stream, subject.first):
        payload = _object(entry)
        if (
            payload.get("inviteId") == subject.invite_id
            and payload.get("from") in {subject.inviter, None}
            and payload.get("to") in {subject.to, None}
        ):
            yield entry


def as_object(entry: Entry) -> dict[str, Any]:
    """One event for programs: `entry, type, payload`."""
    return {
        "entry": entry.id,
        "type": entry.text(b"type"),
        "payload": decoded(entry.fields.get(b"payload", b"null")),
    }


def _object(entry: Entry) -> dict[str, Any]:
    try:
        payload = msgspec.json.decode(entry.fields.get(b"payload", b""))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return payload if isinstance(payload, dict) else {}


def _user_of(payload: dict[str, Any], name: str) -> str | None:
    part = payload.get(name)
    user = part.get("user") if isinstance(part, dict) else None
    return user if isinstance(user, str) else None


def _names(payload: dict[str, Any], subject: Subject) -> bool:
    """Whether the fields of the event (id, inviter, callee) name this invite; a field may be missing."""
    if payload.get("inviteId") != subject.invite_id:
        return False
    sender = _user_of(payload, "peer")
    if "callee" in payload:
        return payload["callee"] == subject.to and payload.get("from", sender) in {subject.inviter, None}
    if "from" in payload:
        return bool(payload["from"] == subject.inviter and payload.get("to", sender) == subject.to)
    return bool(sender == subject.inviter and payload.get("to") == subject.to)


def _concerns(entry: Entry, payload: dict[str, Any], subject: Subject) -> bool:
    if subject.started_at is None or entry.at < subject.started_at:
        return False
    if subject.ended_at is not None and entry.at > subject.ended_at:
        return False
    kind = entry.text(b"type")
    if kind in _PRESENCE:
        user = _user_of(payload, "registry") or _user_of(payload, "peer")
        return user in {subject.inviter, subject.to}
    return kind in _ROOMS and subject.room is not None and payload.get("roomId") == subject.room
