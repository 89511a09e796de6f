"""Turns devices' messages into events. The peer is always that of the connection."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final

import msgspec

from invites.events.fields import MAX_ID, MAX_MS, BadEvent
from invites.events.protocol import Event, decode_event
from invites.frames import LOGIN, LOGOUT, SET_BY_GATEWAY, Login
from invites.values.traceparent import traceparent_of

if TYPE_CHECKING:
    from invites.events.protocol import Peer

RESUMED: Final = "resumed:"
"""How the transaction of a gateway's own request begins; the session follows."""

_NULL: Final = msgspec.Raw(b"null")
EVENTS: Final = tuple(sorted(SET_BY_GATEWAY))
"""The types of events that a device can send."""


class Message(msgspec.Struct, frozen=True):
    """One message of a device."""

    type: str
    payload: dict[str, msgspec.Raw] = {}
    traceparent: Any = None

    @property
    def trace(self) -> str | None:
        """The message's traceparent. A malformed one counts as none."""
        found = self.traceparent
        return (traceparent_of(found) or None) if isinstance(found, str) else None

    def value(self, name: str) -> Any:  # noqa: ANN401 - JSON
        """A field of the payload; None also if Python cannot hold it."""
        try:
            return msgspec.json.decode(self.payload.get(name, _NULL))
        except (msgspec.DecodeError, RecursionError):
            return None

    @property
    def transaction(self) -> str | int | None:
        """The message's transaction."""
        found = self.value("transaction")
        is_one = isinstance(found, str) and len(found) <= MAX_ID
        is_one |= type(found) is int and abs(found) <= MAX_MS
        return found if is_one else None


class BadMessage(Exception):  # noqa: N818 - it is the message that is bad
    """The device gets the text, which is one sentence."""


_DECODER: Final = msgspec.json.Decoder(Message)


def decode_message(text: str) -> Message:
    """Decode a message. Raises BadMessage."""
    try:
        return _DECODER.decode(text)
    except msgspec.DecodeError as error:
        raise BadMessage(f'a message is {{"type": …, "payload": {{…}}}}: {error}') from None
    except RecursionError:
        raise BadMessage("the message is nested too deeply") from None


def login_of(message: Message) -> Login:
    """The login in a first message. Raises BadMessage."""
    if message.type == LOGIN:
        with contextlib.suppress(msgspec.DecodeError, RecursionError):
            return msgspec.json.decode(msgspec.json.encode(message.payload), type=Login)
    raise BadMessage("the first message must be a login with a token")


def event_of(message: Message, peer: Peer) -> Event:
    """The event of a message. Raises BadMessage."""
    if message.type not in SET_BY_GATEWAY:
        raise BadMessage(
            f"a device cannot send {message.type[:100]!r}; it can send {', '.join((*EVENTS, LOGOUT))}"
        )
    if str(message.transaction).startswith(RESUMED):
        raise BadMessage(f"a transaction that begins with {RESUMED!r} is a gateway's: choose another one")
    known = {"peer": peer, "userId": peer.user, "from": peer.user, "probe": None}
    said = {name: known[name] for name in SET_BY_GATEWAY[message.type]}
    try:
        return decode_event(message.type, msgspec.json.encode({**message.payload, **said}))
    except BadEvent as error:
        raise BadMessage(str(error)) from None
