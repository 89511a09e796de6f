"""From a stream entry to what the script is to do with it: decoding, defaults, limits."""

from collections.abc import Mapping
from functools import singledispatch
from typing import Any, Final

import msgspec

from invites.events import protocol
from invites.events.protocol import BadEvent, Event, Peer
from invites.events.routing import routing_key
from invites.keys import Keys, shard_of

Arguments = tuple[bytes | str | int, ...]


class Entry(msgspec.Struct):
    """An entry of the events stream. `fields` is None when it was trimmed while it was still pending."""

    id: str
    fields: Mapping[bytes, bytes] | None
    deliveries: int = 1


class Operation(msgspec.Struct):
    """One call of a rule in `lua/events`: its name, the entry that asks for it, its arguments in order.

    `event` is what was decoded, for the log and for look-ups; None for a dead letter. `shard` is set for what the
    relay stream has for another shard.
    """

    handler: str
    entry: str
    args: Arguments
    event: Event | None = None
    shard: int | None = None


class _Sender(msgspec.Struct, rename="camel"):
    """What can be saved of an invalid payload: whom to answer, and about what."""

    peer: Peer
    invite_id: Any = None
    from_: Any = msgspec.field(name="from", default=None)
    to: Any = None
    callee: Any = None
    transaction: Any = None


_SENDER: Final = msgspec.json.Decoder(_Sender)
_JSON: Final = msgspec.json.Encoder()
_RELAYED: Final = (b"kind", b"name", b"entry")
_MISROUTED: Final = b"event"  # the kind of an event that was published to another shard than its own
_STRINGS: Final = msgspec.json.Decoder(list[str])


def to_operation(entry: Entry, *, max_deliveries: int, keys: Keys | None = None) -> Operation:
    """Decode an entry of the events stream of the shard `keys` (None: the only one).

    Never raises: what cannot be processed becomes a dead letter, and its sender is answered 400. What belongs to
    another shard is sent there.
    """
    sentence = unusable(entry, max_deliveries)
    if sentence or not entry.fields:
        return dead_letter(entry, sentence)
    payload = entry.fields.get(b"payload")
    if payload is None:
        return dead_letter(entry, "field payload is missing")
    try:
        event = protocol.decode_event(entry.fields.get(b"type", b"").decode(errors="replace"), payload)
    except BadEvent as error:
        return dead_letter(entry, str(error))
    if keys is not None and keys.shards > 1:
        key = routing_key(event)
        if shard_of(key, keys.shards) != keys.shard:
            return Operation("misrouted", entry.id, (key, entry.fields.get(b"type", b""), payload))
    return _operation(entry.id, event)


def relayed(entry: Entry, *, max_deliveries: int, keys: Keys | None = None) -> Operation:
    """Decode an entry of the relay stream of the shard `keys` (None: the only one). Never raises, as above.

    It is more of what an earlier commit began, or what is for another shard: then `shard` says which.
    """
    sentence = unusable(entry, max_deliveries)
    if sentence or not entry.fields:
        return buried(entry, "relay", sentence)
    try:
        operation = _relayed(entry.id, entry.fields)
        shard = _shard_of(entry.fields, keys)
    except KeyError as missing:
        return buried(entry, "relay", f"field {missing.args[0].decode()} is missing")
    except BadEvent as error:
        return buried(entry, "relay", str(error))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return buried(entry, "relay", "field arguments is no list of texts in JSON")
    except ValueError:
        return buried(entry, "relay", "field shard is no number")
    operation.shard = shard
    return operation


def _relayed(entry: str, fields: Mapping[bytes, bytes]) -> Operation:
    kind, name, first = (fields[field] for field in _RELAYED)
    if kind != _MISROUTED:
        return Operation("relay", entry, (kind, name, first, *_STRINGS.decode(fields[b"arguments"])))
    event = protocol.decode_event(fields[b"type"].decode(), fields[b"payload"])
    operation = _operation(first.decode(), event)
    return Operation("relayedEvent", entry, (first, operation.handler, *operation.args), event)


def _shard_of(fields: Mapping[bytes, bytes], keys: Keys | None) -> int | None:
    """The shard that a relay entry is for; None for the one that it is from."""
    if keys is None or keys.shards == 1:
        return None
    said = fields.get(b"shard")
    shard = int(said) if said is not None else shard_of(fields[b"name"].decode(), keys.shards)
    return None if shard == keys.shard else shard


def with_room(operation: Operation, closed: bytes, left: bytes) -> Operation:
    """The operation of an invite with what its room's shard knows: entries of its close and its inviter's leaving."""
    *asked, _, _, requester, version, trunk, found = operation.args
    args = (*asked, closed, left, requester, version, trunk, found)
    return msgspec.structs.replace(operation, args=args)


def with_invitations(operation: Operation, invitations: bytes) -> Operation:
    """The operation of a getInvitations with what rings for the user in other shards, as a list in JSON."""
    return msgspec.structs.replace(operation, args=(*operation.args[:-1], invitations))


def with_requester(operation: Operation, requester: str) -> Operation:
    """The operation of an invite with the peer that asked for it, as the inviter's shard knows."""
    *asked, _, version, trunk, found = operation.args
    return msgspec.structs.replace(operation, args=(*asked, requester, version, trunk, found))


def unusable(entry: Entry, max_deliveries: int) -> str:
    """The sentence that says why an entry cannot be processed, whatever it holds; "" for any other."""
    if not entry.fields:
        return "the entry is empty: it was trimmed before it was settled, or has no fields"
    if entry.deliveries > max_deliveries:
        return f"the entry failed {entry.deliveries - 1} times (maxDeliveries); the workers' logs say why"
    return ""


def buried(entry: Entry, stream: str, sentence: str) -> Operation:
    """Return the operation that buries an entry of a stream that only workers write to.

    The letter names the stream, and its payload is an object of all fields, for an operator to put it back there.
    """
    fields = {
        name.decode(errors="replace"): value.decode(errors="replace")
        for name, value in (entry.fields or {}).items()
    }
    payload = _JSON.encode(fields) if fields else b""
    return Operation("dead", entry.id, (stream, payload, sentence, entry.deliveries, "", "", "", "", stream))


def dead_letter(entry: Entry, sentence: str) -> Operation:
    """Return the operation that buries an entry, with the sentence that says why."""
    fields = entry.fields or {}
    kind, payload = fields.get(b"type", b""), fields.get(b"payload", b"")
    about: Arguments = ("", "", "", "")
    try:
        sender = _SENDER.decode(payload)
        payload.decode()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    else:
        about = (
            sender.peer.id,
            sender.peer.user,
            _transaction(sender.transaction if type(sender.transaction) in (str, int) else None),
            _head(_text(sender.invite_id), _text(sender.from_), _text(sender.to) or _text(sender.callee)),
        )
    # A type that is not UTF-8 can be kept, but not answered in JSON.
    answerable = kind.decode(errors="replace")
    return Operation("dead", entry.id, (answerable, payload, sentence, entry.deliveries, *about, ""))


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _head(invite_id: str | None, inviter: str | None, callee: str | None) -> bytes:
    """Return how every payload about an invite begins, an open JSON object: spares the script the quoting."""
    return _JSON.encode({"inviteId": invite_id, "from": inviter, "to": callee})[:-1]


def _transaction(value: str | int | None) -> str | bytes:
    return b"" if value is None else _JSON.encode(value)


def _operation(entry: str, event: Event) -> Operation:
    handler, args = _call(event, entry)
    return Operation(handler, entry, args, event)


@singledispatch
def _call(event: Event, _entry: str) -> tuple[str, Arguments]:
    """Return the rule for an event, and its arguments in the order in which the rule's file names them."""
    raise TypeError(f"{type(event).__name__} is no event")


@_call.register
def _(event: protocol.Invite, _entry: str) -> tuple[str, Arguments]:
    if event.return_of is None:
        return "invite", _invite(event, event.room, event.request_id or "", asks="0")
    peer = event.peer
    head = _head(event.invite_id, peer.user, event.to)
    return "inviteReturn", (peer.id, peer.user, head, event.return_of, _transaction(event.transaction), b"")


@_call.register
def _(event: protocol.InviteRequest, _entry: str) -> tuple[str, Arguments]:
    return "invite", _invite(event, "", "", asks="1")


@_call.register
def _(event: protocol.Ringing, _entry: str) -> tuple[str, Arguments]:
    return "ringing", _reply(event)


@_call.register
def _(event: protocol.Accept, _entry: str) -> tuple[str, Arguments]:
    return "accept", (*_reply(event), _transaction(event.transaction))


@_call.register
def _(event: protocol.Decline, _entry: str) -> tuple[str, Arguments]:
    code = "" if event.error_code is None else event.error_code
    to = event.to or event.peer.user
    return "decline", (*_reply(event), event.from_, to, code, _transaction(event.transaction))


@_call.register
def _(event: protocol.StopInvite, _entry: str) -> tuple[str, Arguments]:
    return "stopInvite", _stop(event)


@_call.register
def _(event: protocol.GetInvitations, _entry: str) -> tuple[str, Arguments]:
    return "getInvitations", (event.peer.id, event.peer.user, _transaction(event.transaction), b"")


@_call.register
def _(event: protocol.Registered, entry: str) -> tuple[str, Arguments]:
    return "registered", _registered(entry, event.registry)


@_call.register(protocol.Unregistered)
@_call.register(protocol.Disconnected)
def _(event: protocol.Unregistered | protocol.Disconnected, _entry: str) -> tuple[str, Arguments]:
    return "disconnected", (event.peer.id, event.peer.user, event.session or "")


@_call.register
def _(event: protocol.Joined, _entry: str) -> tuple[str, Arguments]:
    return "joined", (event.user_id, event.room_id)


@_call.register
def _(event: protocol.Left, _entry: str) -> tuple[str, Arguments]:
    return "left", (event.user_id, event.room_id)


@_call.register
def _(event: protocol.RoomClosed, _entry: str) -> tuple[str, Arguments]:
    return "roomClosed", (event.room_id,)


def _reply(event: protocol.Ringing | protocol.Accept | protocol.Decline) -> Arguments:
    to = event.to or event.peer.user
    ref = f"{event.from_}|{event.invite_id}|{to}"
    return event.peer.id, event.peer.user, ref, _head(event.invite_id, event.from_, to)


def _invite(
    event: protocol.Invite | protocol.InviteRequest, room: str, request_id: str, *, asks: str
) -> Arguments:
    return (
        event.peer.id,
        event.peer.user,
        event.to,
        event.invite_id,
        _head(event.invite_id, event.peer.user, event.to),
        room,
        protocol.compact(event.mediatypes),
        protocol.compact(event.from_details),
        protocol.compact(event.context),
        "" if event.expires is None else event.expires,
        request_id,
        _transaction(event.transaction),
        asks,
        "",
        "",
        "",
        "",
        "",
        b"",
    )


def _stop(event: protocol.StopInvite) -> Arguments:
    peer = event.peer
    inviter = event.from_ or (peer.user if peer else "")
    return (
        peer.id if peer else "",
        peer.user if peer else "",
        inviter,
        event.invite_id,
        event.callee,
        _head(event.invite_id, inviter, event.callee),
        event.error_code,
        _transaction(event.transaction),
    )


def _registered(entry: str, registry: protocol.Registry) -> Arguments:
    stored: dict[str, object] = {"id": registry.id, "user": registry.user, "type": registry.type}
    for name in ("device", "session", "expires"):
        value = getattr(registry, name)
        if value is not None:
            stored[name] = value
    if registry.trunk:
        stored |= {"trunk": True, "match": registry.match}
    stored["at"] = entry
    return (
        registry.user,
        registry.id,
        _JSON.encode(stored),
        registry.device or "",
        registry.session or "",
        "" if registry.expires is None else registry.expires,
        "1" if registry.trunk else "0",
    )
