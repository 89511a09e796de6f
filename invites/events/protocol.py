"""The events of the wire contract, decoded strictly.

Each event is a JSON object in the field `payload` of a stream entry, beside the field `type`. Unknown fields are
ignored; a wrong one makes the whole event invalid, with a sentence that names the field.
"""

import difflib
import re
from typing import Annotated, Any, Final, Literal

import msgspec
import re2
from msgspec import Meta

from invites.events.numbers import LARGEST, too_large
from invites.events.validation import what_is_wrong
from invites.values.printable import escape_invisible
from invites.values.validation import shown

MAX_PAYLOAD: Final = 64 * 1024
"""The most that a payload may have, in bytes."""

MAX_CONTEXT: Final = 16 * 1024
"""The most that a context may have, in bytes of compact JSON."""

MAX_REPLY_CONTEXT: Final = 4 * 1024
"""The same for an accept or a decline."""

MAX_BLOCKED: Final = 1_000
"""The most users that a user may block."""

MAX_DEPTH: Final = 128
"""How deeply the objects and lists of a payload may be nested."""

MAX_ID: Final = 255
MAX_MATCH: Final = 1024
MAX_MS: Final = 2**53 - 1
"""The largest time in ms that a double, and so Lua, holds exactly."""

_LONGEST_TYPE: Final = 100  # characters of a text that may be a mistyped type
_LONGEST_NUMBER: Final = 60  # characters of a number that is quoted
_LONGEST_REASON: Final = 100  # characters of what is wrong with a regular expression, which may repeat it

ANYTHING: Final = "*"
"""The `match` of a trunk that leads everywhere."""

# Each description follows "field … must be".
Id = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=MAX_ID,
        pattern=r"^[^\s{}|\x00-\x1f\x7f-\x9f]+\Z",
        description=f"a text of 1 to {MAX_ID} characters without white space, control characters, {{, }} or |",
    ),
]
Ref = Annotated[
    str,
    Meta(
        pattern=r"^[^\s{}|\x00-\x1f\x7f-\x9f]{1,255}(\|[^\s{}|\x00-\x1f\x7f-\x9f]{1,255}){2}\Z",
        description="the ref of an invite, from|inviteId|to",
    ),
]
ErrorCode = Annotated[int, Meta(ge=400, le=699, description="a whole number from 400 to 699")]
Milliseconds = Annotated[
    int, Meta(ge=1, le=MAX_MS, description=f"a whole number of milliseconds from 1 to {MAX_MS}")
]
Transaction = Annotated[
    Annotated[str, Meta(max_length=MAX_ID)] | Annotated[int, Meta(ge=-MAX_MS, le=MAX_MS)],
    Meta(description=f"a text of at most {MAX_ID} characters or a whole number up to {MAX_MS} either way"),
]
PeerType = Annotated[
    str, Meta(min_length=1, max_length=MAX_ID, description=f"a text of 1 to {MAX_ID} characters")
]
Flag = Annotated[bool, Meta(description="true or false")]
RingMode = Annotated[
    Literal["simultaneous", "sequential", "all"], Meta(description="simultaneous, sequential or all")
]
Blocked = Annotated[
    tuple[Id, ...],
    Meta(
        max_length=MAX_BLOCKED,
        description=f"a list of at most {MAX_BLOCKED} texts of 1 to {MAX_ID} characters without white space, "
        "control characters, {, } or |",
    ),
]
Match = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=MAX_MATCH,
        description=f"* or a regular expression (RE2 syntax) of 1 to {MAX_MATCH} characters",
    ),
]


class BadEvent(Exception):  # noqa: N818 - it is the event that is bad
    """An event that cannot be processed; the message is one sentence that names the field."""


class Peer(msgspec.Struct, frozen=True, omit_defaults=True):
    """One connected device session of a user. `device` is the hardware, as in a registration."""

    id: Id
    user: Id
    device: Id | None = None


class _Event(msgspec.Struct, rename="camel", frozen=True, kw_only=True, omit_defaults=True):
    pass


class _Call(_Event, frozen=True, kw_only=True):
    peer: Peer
    to: Id
    invite_id: Id
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

    room: Id
    ring_mode: RingMode | None = None
    request_id: Id | None = None
    return_of: Ref | None = None
    replaces: Ref | None = None
    probe: Flag | None = None


class InviteRequest(_Call, frozen=True, kw_only=True):
    """A user asks a callee for an invite into the callee's room."""


class _Reply(_Event, frozen=True, kw_only=True):
    peer: Peer
    from_: Id = msgspec.field(name="from")
    invite_id: Id
    to: Id | None = None


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

    invite_id: Id
    callee: Id
    from_: Id | None = msgspec.field(name="from", default=None)
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

    id: Id
    user: Id
    type: PeerType = "WEB"
    device: Id | None = None
    session: Id | None = None
    expires: Milliseconds | None = None
    trunk: Flag = False
    match: Match = ANYTHING
    confirm: Flag | None = None


class Registered(_Event, frozen=True, kw_only=True):
    """A peer is reachable."""

    registry: Registry


class _Ended(_Event, frozen=True, kw_only=True):
    peer: Peer
    session: Id | None = None


class Unregistered(_Ended, frozen=True, kw_only=True):
    """A peer has signed off."""


class Disconnected(_Ended, frozen=True, kw_only=True):
    """A peer's connection is lost."""


class _Presence(_Event, frozen=True, kw_only=True):
    user_id: Id
    room_id: Id


class Joined(_Presence, frozen=True, kw_only=True):
    """A user is in a room, as `peer` if it is named."""

    peer: Peer | None = None


class Left(_Presence, frozen=True, kw_only=True):
    """A user has left a room."""


class RoomClosed(_Event, frozen=True, kw_only=True):
    """A room is over."""

    room_id: Id


class UserState(_Event, frozen=True, kw_only=True):
    """All of a user's wishes. `until`: the time (ms since 1970) at which `dnd` is over."""

    user_id: Id
    dnd: Flag | None = None
    until: Milliseconds | None = None
    block: Blocked | None = None


class CallsSeen(_Event, frozen=True, kw_only=True):
    """A user has seen the missed calls that ended before the time `before` (ms since 1970); without it, all."""

    user_id: Id
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

_DECODERS: Final[dict[str, msgspec.json.Decoder[Any]]] = {
    "invite": msgspec.json.Decoder(Invite),
    "inviteRequest": msgspec.json.Decoder(InviteRequest),
    "ringing": msgspec.json.Decoder(Ringing),
    "accept": msgspec.json.Decoder(Accept),
    "decline": msgspec.json.Decoder(Decline),
    "silence": msgspec.json.Decoder(Silence),
    "stopInvite": msgspec.json.Decoder(StopInvite),
    "getInvitations": msgspec.json.Decoder(GetInvitations),
    "registered": msgspec.json.Decoder(Registered),
    "unregistered": msgspec.json.Decoder(Unregistered),
    "disconnected": msgspec.json.Decoder(Disconnected),
    "joined": msgspec.json.Decoder(Joined),
    "left": msgspec.json.Decoder(Left),
    "roomClosed": msgspec.json.Decoder(RoomClosed),
    "userState": msgspec.json.Decoder(UserState),
    "callsSeen": msgspec.json.Decoder(CallsSeen),
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
        _check_numbers("mediatypes", event.mediatypes)
        _check_numbers("fromDetails", event.from_details)
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


def compact(raw: msgspec.Raw) -> bytes:
    """Return opaque JSON without white space between its tokens; `b""` when the field was absent or null."""
    if not raw:
        return b""
    text = msgspec.json.format(bytes(raw), indent=-1)
    return b"" if text == b"null" else text


def check_context(raw: msgspec.Raw, most: int) -> None:
    """Raise BadEvent for a context that is too large in compact form, or has a number beyond any double."""
    # As sent it is at least as long as in compact form: the usual case needs no second look.
    if len(bytes(raw)) > most and len(compact(raw)) > most:
        raise BadEvent(f"field context has {len(compact(raw))} bytes; at most {most} are allowed")
    _check_numbers("context", raw)


def _check_numbers(name: str, raw: msgspec.Raw) -> None:
    number = too_large(bytes(raw)) if raw else None
    if number is not None:
        said = number if len(number) <= _LONGEST_NUMBER else f"of {len(number)} characters"
        raise BadEvent(f"field {name} has the number {said}, which is beyond {LARGEST}, the largest double")


def compile_match(pattern: str) -> Any:  # noqa: ANN401 - re2 has no types
    """The expression of a trunk's `match`. Raises re2.error, also if it would take too much memory.

    RE2 takes linear time, but linear in the product of both: `(a?a?a?…){1000}` compiled to the 8 MiB that are usual
    takes over a second to match an id, and longer if it captures. In 64 KiB the worst that was found takes 7 ms.
    """
    options = re2.Options()
    options.log_errors = False
    options.never_capture = True
    options.max_mem = 65_536
    return re2.compile(pattern, options)


def check_match(pattern: str) -> None:
    """Raise BadEvent when a trunk's `match` is no regular expression (RE2 syntax)."""
    try:
        compile_match(pattern)
    except re2.error as error:
        reason = error.args[0] if error.args else "syntax"
        if isinstance(reason, bytes):
            reason = reason.decode(errors="replace")
        raise BadEvent(
            f"field registry.match is {shown(pattern)}, which is no regular expression (RE2 syntax): "
            f"{escape_invisible(reason)[:_LONGEST_REASON]}"
        ) from None


def _unknown(kind: str) -> str:
    # A long text resembles no type, and comparing 2 MiB takes more than half a second.
    near = difflib.get_close_matches(kind[:_LONGEST_TYPE], EVENT_TYPES, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(EVENT_TYPES)}"
    return (
        f"field type is {shown(kind)}, which is no event; {hint}"
        if kind
        else f"field type is missing; {hint}"
    )
