"""The notifications of the wire contract, as types: what an entry of a `notifications` stream holds.

Unknown fields are ignored, so a reader keeps working when the contract grows. A field that is absent is None.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from invites.events.entry import order
from invites.values.ref import Ref
from invites.values.traceparent import traceparent_of

if TYPE_CHECKING:
    from collections.abc import Mapping


class BadNotification(Exception):  # noqa: N818 - it is the notification that is bad
    """An entry that is not a notification of this contract; the message is one sentence that names the field."""


class _Payload(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    pass


class _OfInvite(_Payload, frozen=True, kw_only=True):
    invite_id: str
    from_: str = msgspec.field(name="from")
    to: str

    @property
    def ref(self) -> str:
        """The invite's three ids as one text, `from|inviteId|to`."""
        return str(Ref(self.from_, self.invite_id, self.to))


class Invitation(_OfInvite, frozen=True, kw_only=True):
    """A device rings. `expires_in` is the time left in ms; `resumed`: the device may have the invitation already.

    `waiting`: the callee is in another call. `replaces` is the ref of an invite that this one follows, `number` what a
    trunk dials.
    """

    group: str | None = None
    room: str | None = None
    mediatypes: Any
    from_details: Any
    context: Any
    invite_request: bool
    expires_in: int
    resumed: bool
    waiting: bool = False
    request_id: str | None = None
    replaces: str | None = None
    number: str | None = None


class InvitationCancel(_OfInvite, frozen=True, kw_only=True):
    """A device stops ringing. `peer` is the connection that accepted."""

    code: int
    reason: str
    who_accepted: str | None = None
    peer: str | None = None


class InviteProgress(_OfInvite, frozen=True, kw_only=True):
    """The inviter's call is in progress: 100, 110 or 180. The counts are current.

    `waiting`: the callee is in another call.
    """

    code: int
    candidates: int
    ringing: int
    pushed: int
    waiting: bool = False
    transaction: str | int | None = None


class InviteAccepted(_OfInvite, frozen=True, kw_only=True):
    """The inviter's call is taken by `peer`, of the user `who_accepted`; or merged `into` the invite of this ref."""

    room: str | None
    code: int
    reason: str | None = None
    into: str | None = None
    who_accepted: str
    peer: str | None
    context: Any = None


class InviteRejected(_OfInvite, frozen=True, kw_only=True):
    """The inviter's call is over."""

    code: int
    reason: str
    context: Any = None


class OpenInvitation(_Payload, frozen=True, kw_only=True):
    """An invite that rings for the asking user. Times are in ms since 1970."""

    invite_id: str
    from_: str = msgspec.field(name="from")
    to: str
    group: str | None
    room: str | None
    state: str
    invite_request: bool
    mediatypes: Any
    context: Any
    started_at: int
    expires_at: int


class Answer(_Payload, frozen=True, kw_only=True):
    """The answer to a peer's event of the type `request`. The ids are None if the event named none."""

    invite_id: str | None
    from_: str | None = msgspec.field(name="from")
    to: str | None
    request: str
    transaction: str | int | None = None
    code: int
    reason: str | None
    who_accepted: str | None = None
    invitations: tuple[OpenInvitation, ...] | None = None
    more: bool = False


class CallMissed(_OfInvite, frozen=True, kw_only=True):
    """A callee has missed a call, with or without a device. `kind` is direct or group; `at` in ms since 1970."""

    kind: str
    group: str | None = None
    room: str | None = None
    from_details: Any
    invite_request: bool
    code: int
    reason: str
    at: int


class CallRecordCandidate(_Payload, frozen=True, kw_only=True):
    """A candidate of a finished call, or a member of the group that was called."""

    address: str
    peer: str | None
    end_reason: int
    context: Any = None


class InviteCompleted(_OfInvite, frozen=True, kw_only=True):
    """The call record. Times are in ms since 1970."""

    room: str | None
    group: bool
    invite_request: bool
    mediatypes: Any
    state: str
    error: int
    who_accepted: str | None
    started_at: int
    ended_at: int
    candidates: tuple[CallRecordCandidate, ...]
    into: str | None = None


class UserJoined(_Payload, frozen=True, kw_only=True):
    """A user has joined a room."""

    user_id: str
    room_id: str


class UserLeft(_Payload, frozen=True, kw_only=True):
    """A user has left a room."""

    user_id: str
    room_id: str


class RoomCleaned(_Payload, frozen=True, kw_only=True):
    """A room was closed. This ended `invites` pending invites."""

    room_id: str
    invites: int


class UserBusy(_Payload, frozen=True, kw_only=True):
    """A user is in a call. `room` is the first one."""

    user_id: str
    room: str


class UserFree(_Payload, frozen=True, kw_only=True):
    """A user is no longer in any call. `room` was the last one."""

    user_id: str
    room: str


class ServerEmptied(_Payload, frozen=True, kw_only=True):
    """A shard has lost its data: publish again what is known."""

    shard: int


Payload = (
    Invitation
    | InvitationCancel
    | InviteProgress
    | InviteAccepted
    | InviteRejected
    | Answer
    | CallMissed
    | InviteCompleted
    | UserJoined
    | UserLeft
    | RoomCleaned
    | UserBusy
    | UserFree
    | ServerEmptied
)

PAYLOADS: Final[dict[str, type[Payload]]] = {
    "invitation": Invitation,
    "invitationCancel": InvitationCancel,
    "inviteProgress": InviteProgress,
    "inviteAccepted": InviteAccepted,
    "inviteRejected": InviteRejected,
    "answer": Answer,
    "callMissed": CallMissed,
    "INVITE_COMPLETED": InviteCompleted,
    "userJoined": UserJoined,
    "userLeft": UserLeft,
    "roomCleaned": RoomCleaned,
    "userBusy": UserBusy,
    "userFree": UserFree,
    "serverEmptied": ServerEmptied,
}
"""Each type of notification and its payload."""

_PAYLOAD_DECODERS: Final[dict[str, msgspec.json.Decoder[Any]]] = {
    kind: msgspec.json.Decoder(payload) for kind, payload in PAYLOADS.items()
}
_NAMES: Final = msgspec.json.Decoder(tuple[str, ...])


class Notification(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of a `notifications` stream.

    `id` is the same when the notification is delivered again. `payload` is None for a `type` of a later contract, and
    for JSON with numbers beyond any float; `raw` is its JSON in any case. `shard` and `entry` say where it is stored.
    `traceparent` is that of the event that caused it, None without one.
    """

    id: str
    type: str
    peers: tuple[str, ...]
    users: tuple[str, ...]
    payload: Payload | None
    raw: bytes
    shard: int
    entry: str
    traceparent: str | None = None

    @property
    def at(self) -> int:
        """When the server wrote it (ms since 1970)."""
        return order(self.entry)[0]


def _decoded(decoder: msgspec.json.Decoder[Any], raw: bytes) -> Payload | None:
    """The payload. None when it holds a number that no float can hold: any JSON may stand in a context."""
    try:
        payload: Payload = decoder.decode(raw)
    except msgspec.DecodeError as error:
        if "Number out of range" not in str(error):
            raise
        return None
    return payload


def decode_notification(fields: Mapping[bytes, bytes], *, shard: int = 0, entry: str = "0-0") -> Notification:
    """Decode the fields of an entry. Raises BadNotification when a field is missing or wrong."""
    kind = fields.get(b"type", b"").decode(errors="replace")
    raw = fields.get(b"payload", b"")
    decoder = _PAYLOAD_DECODERS.get(kind)
    name = "id"
    try:
        identity = fields[b"id"].decode()
        name = "type"
        fields[b"type"].decode()
        name = "peers"
        peers = _NAMES.decode(fields[b"peers"])
        name = "users"
        users = _NAMES.decode(fields[b"users"])
        name = "payload"
        payload = _decoded(decoder, fields[b"payload"]) if decoder else None
    except KeyError:
        raise BadNotification(f"field {name} is missing") from None
    except (UnicodeDecodeError, msgspec.DecodeError) as error:
        raise BadNotification(f"field {name} of {kind or 'a notification'}: {error}") from None
    return Notification(
        id=identity,
        type=kind,
        peers=peers,
        users=users,
        payload=payload,
        raw=raw,
        shard=shard,
        entry=entry,
        traceparent=traceparent_of(fields.get(b"traceparent")) or None,
    )
