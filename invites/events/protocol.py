"""The events of the wire contract, decoded strictly.

Each event is a JSON object in the field `payload` of a stream entry, beside the field `type`. Unknown fields are
ignored; a wrong one makes the whole event invalid, with a sentence that names the field.
"""

import difflib
import re
from typing import Any, Final, Literal

import msgspec

from invites.events.decoder import EventDecoder
from invites.events.fields import (
    ANYTHING,
    MAX_CONTEXT,
    MAX_REPLY_CONTEXT,
    BadEvent,
    Blocked,
    ErrorCode,
    EventId,
    Flag,
    Match,
    Milliseconds,
    PeerType,
    Ref,
    RingMode,
    Transaction,
    check_context,
    check_match,
    check_numbers,
)
from invites.events.validation import what_is_wrong
from invites.values.validation import shown

MAX_PAYLOAD: Final = 64 * 1024
"""The most that a payload may have, in bytes."""

MAX_DEPTH: Final = 128
"""How deeply the objects and lists of a payload may be nested."""

_LONGEST_TYPE: Final = 100  # characters of a text that may be a mistyped type


class Peer(msgspec.Struct, frozen=True, omit_defaults=True):
    """One connected device session of a user. `device` is the hardware, as in a registration."""

    id: EventId
    user: EventId
    device: EventId | None = None


class _Event(msgspec.Struct, rename="camel", frozen=True, kw_only=True, omit_defaults=True):
    pass


class _Call(_Event, frozen=True, kw_only=True):
    peer: Peer
    to: EventId
    invite_id: EventId
    mediatypes: msgspec.Raw = msgspec.Raw(b"")
    from_details: msgspec.Raw = msgspec.Raw(b"")
    context: msgspec.Raw = msgspec.Raw(b"")
    expires: Milliseconds | None = None
    transaction: Transaction | None = None


class Invite(_Call, frozen=True, kw_only=True):
    """A user asks a callee into a room. `expires` is a ring time in ms; `ring_mode` is for groups.

    `replaces` is the ref of an earlier invite of the user, which this one replaces. `probe`: the call tests the
    service.
    """

    room: EventId
    ring_mode: RingMode | None = None
    request_id: EventId | None = None
    return_of: Ref | None = None
    replaces: Ref | None = None
    probe: Flag | None = None


class InviteRequest(_Call, frozen=True, kw_only=True):
    """A user asks a callee for an invite into the callee's room."""


class _Reply(_Event, frozen=True, kw_only=True):
    peer: Peer
    from_: EventId = msgspec.field(name="from")
    invite_id: EventId
    to: EventId | None = None


class Ringing(_Reply, frozen=True, kw_only=True):
    """A device says that it rings."""


class Accept(_Reply, frozen=True, kw_only=True):
    """A device takes the call. `confirmed`: a person has, behind a trunk with `confirm`."""

    context: msgspec.Raw = msgspec.Raw(b"")
    confirmed: Flag | None = None
    transaction: Transaction | None = None


class Decline(_Reply, frozen=True, kw_only=True):
    """A device refuses the call; 600 and above for the whole user."""

    error_code: ErrorCode | None = None
    context: msgspec.Raw = msgspec.Raw(b"")
    transaction: Transaction | None = None


class Silence(_Reply, frozen=True, kw_only=True):
    """A device stops ringing, and nothing else changes."""

    transaction: Transaction | None = None


class StopInvite(_Event, frozen=True, kw_only=True):
    """The inviter, or a service (no peer), takes the invite back."""

    invite_id: EventId
    callee: EventId
    from_: EventId | None = msgspec.field(name="from", default=None)
    peer: Peer | None = None
    error_code: ErrorCode = 487
    transaction: Transaction | None = None


class GetInvitations(_Event, frozen=True, kw_only=True):
    """A device asks what rings for its user."""

    peer: Peer
    transaction: Transaction | None = None


class Registry(_Event, frozen=True, kw_only=True):
    """Where a user can be reached. `expires` in ms: it lapses unless it is repeated in time.

    `confirm`, of a trunk: its accept wins only once it is confirmed.
    """

    id: EventId
    user: EventId
    type: PeerType = "WEB"
    device: EventId | None = None
    session: EventId | None = None
    expires: Milliseconds | None = None
    trunk: Flag = False
    match: Match = ANYTHING
    confirm: Flag | None = None


class Registered(_Event, frozen=True, kw_only=True):
    """A peer is reachable."""

    registry: Registry


class _Ended(_Event, frozen=True, kw_only=True):
    peer: Peer
    session: EventId | None = None


class Unregistered(_Ended, frozen=True, kw_only=True):
    """A peer has signed off."""


class Disconnected(_Ended, frozen=True, kw_only=True):
    """A peer's connection is lost."""


class _Presence(_Event, frozen=True, kw_only=True):
    user_id: EventId
    room_id: EventId


class Joined(_Presence, frozen=True, kw_only=True):
    """A user is in a room, as `peer` if it is named."""

    peer: Peer | None = None


class Left(_Presence, frozen=True, kw_only=True):
    """A user has left a room."""


class RoomClosed(_Event, frozen=True, kw_only=True):
    """A room is over."""

    room_id: EventId


class UserState(_Event, frozen=True, kw_only=True):
    """All of a user's wishes. `until`: the time (ms since 1970) at which `dnd` is over."""

    user_id: EventId
    dnd: Flag | None = None
    until: Milliseconds | None = None
    block: Blocked | None = None


class CallsSeen(_Event, frozen=True, kw_only=True):
    """A user has seen the missed calls that ended before the time `before` (ms since 1970); without it, all."""

    user_id: EventId
    before: Milliseconds | None = None


Event = (
    Invite
    | InviteRequest
    | Ringing
    | Accept
    | Decline
    | Silence
    | StopInvite
    | GetInvitations
    | Registered
    | Unregistered
    | Disconnected
    | Joined
    | Left
    | RoomClosed
    | UserState
    | CallsSeen
)

EventType = Literal[
    "invite",
    "inviteRequest",
    "ringing",
    "accept",
    "decline",
    "silence",
    "stopInvite",
    "getInvitations",
    "registered",
    "unregistered",
    "disconnected",
    "joined",
    "left",
    "roomClosed",
    "userState",
    "callsSeen",
]

_DECODERS: Final[dict[str, EventDecoder[Any]]] = {
    "invite": EventDecoder(Invite),
    "inviteRequest": EventDecoder(InviteRequest),
    "ringing": EventDecoder(Ringing),
    "accept": EventDecoder(Accept),
    "decline": EventDecoder(Decline),
    "silence": EventDecoder(Silence),
    "stopInvite": EventDecoder(StopInvite),
    "getInvitations": EventDecoder(GetInvitations),
    "registered": EventDecoder(Registered),
    "unregistered": EventDecoder(Unregistered),
    "disconnected": EventDecoder(Disconnected),
    "joined": EventDecoder(Joined),
    "left": EventDecoder(Left),
    "roomClosed": EventDecoder(RoomClosed),
    "userState": EventDecoder(UserState),
    "callsSeen": EventDecoder(CallsSeen),
}

EVENT_TYPES: Final = tuple(_DECODERS)
"""Every type of event, in the order of the contract."""

EVENT_STRUCTS: Final[dict[str, type[Event]]] = {kind: decoder.type for kind, decoder in _DECODERS.items()}
"""Each type of event and its payload."""


def decode_event(kind: str, payload: bytes) -> Event:
    """Decode one event.

    Raises BadEvent, with a sentence that names the field and what belongs there.
    """
    decoder = _DECODERS.get(kind)
    if decoder is None:
        raise BadEvent(_unknown(kind))
    if len(payload) > MAX_PAYLOAD:
        raise BadEvent(f"field payload has {len(payload)} bytes; at most {MAX_PAYLOAD} are allowed")
    if _depth(payload) > MAX_DEPTH:
        raise BadEvent(f"field payload is nested more than {MAX_DEPTH} levels deep")
    try:
        payload.decode()
        event: Event = decoder.decode(payload)
    except (UnicodeDecodeError, msgspec.DecodeError):
        raise BadEvent(what_is_wrong(payload, decoder.type)) from None
    if isinstance(event, (Invite, InviteRequest)):
        check_numbers("mediatypes", event.mediatypes)
        check_numbers("fromDetails", event.from_details)
        check_context(event.context, MAX_CONTEXT)
    elif isinstance(event, (Accept, Decline)):
        check_context(event.context, MAX_REPLY_CONTEXT)
    elif isinstance(event, Registered) and event.registry.match != ANYTHING:
        check_match(event.registry.match)
    elif isinstance(event, Joined) and event.peer is not None and event.peer.user != event.user_id:
        raise BadEvent(
            f"field peer.user must be {shown(event.user_id)}, the userId, not {shown(event.peer.user)}"
        )
    return event


_STRING: Final = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_NO_BRACKET: Final = re.compile(rb"[^\[\]{}]+")


def _depth(payload: bytes) -> int:
    """Return how deeply the payload is nested, at the most. Decoders recurse, and a stack has an end."""
    if payload.count(b"[") + payload.count(b"{") <= MAX_DEPTH:
        return 0
    depth = deepest = 0
    for bracket in _NO_BRACKET.sub(b"", _STRING.sub(b"", payload)):
        depth += 1 if bracket in b"[{" else -1
        deepest = max(deepest, depth)
    return deepest


def _unknown(kind: str) -> str:
    # A long text resembles no type, and comparing 2 MiB takes more than half a second.
    near = difflib.get_close_matches(kind[:_LONGEST_TYPE], EVENT_TYPES, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(EVENT_TYPES)}"
    return (
        f"field type is {shown(kind)}, which is no event; {hint}"
        if kind
        else f"field type is missing; {hint}"
    )
