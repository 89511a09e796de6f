"""Makes operations that turn entries which cannot be processed into dead letters."""

from typing import Any, Final

import msgspec

from invites.events.arguments import DeadArguments
from invites.events.entry import Entry
from invites.events.fields import MAX_ID, BadEvent, Id, Transaction
from invites.events.kept_fields import KEPT, kept_fields
from invites.events.operation import Operation, head_of, transaction_of


class _Peer(msgspec.Struct):
    id: Id
    user: Id


class _Sender(msgspec.Struct, rename="camel"):
    """What can be read of an invalid payload: the peer to answer, and the invite it is about."""

    peer: _Peer
    invite_id: Any = None
    from_: Any = msgspec.field(name="from", default=None)
    to: Any = None
    callee: Any = None
    transaction: Any = None


_SENDER: Final = msgspec.json.Decoder(_Sender)


def unusable(entry: Entry, max_deliveries: int) -> str:
    """The sentence that says why an entry cannot be processed, whatever it holds; "" for any other entry."""
    if not entry.fields:
        return "the entry is empty: it was trimmed before it was settled, or has no fields"
    if entry.deliveries > max_deliveries:
        return f"the entry failed {entry.deliveries - 1} times (maxDeliveries); the workers' logs say why"
    return ""


def texts_of(entry: Entry) -> dict[str, str]:
    """All fields of an entry that a worker wrote, as texts. Raises BadEvent when one is not UTF-8."""
    texts = {}
    for raw, value in entry.fields.items():
        name = raw.decode(errors="replace")
        try:
            texts[name] = value.decode()
        except UnicodeDecodeError as error:
            at = error.start
            raise BadEvent(f"field {name} is not UTF-8: byte {at} is 0x{value[at]:02x}") from None
    return texts


def dead_event(entry: Entry, sentence: str) -> Operation:
    """The operation that makes a dead letter of an event; `sentence` says why. Its sender gets the answer 400."""
    payload = entry.fields.get(b"payload", b"")
    # A type that is not UTF-8 can be kept, but not answered in JSON.
    kind = entry.fields.get(b"type", b"")[:KEPT].decode(errors="replace")
    kept = kept_fields(entry.fields)
    arguments = DeadArguments(kind, sentence, entry.deliveries, arguments=kept)
    try:
        sender = _SENDER.decode(payload)
        payload.decode()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Operation("dead", entry.id, arguments)
    invite_id, inviter, callee = map(_text, (sender.invite_id, sender.from_, sender.to or sender.callee))
    arguments = arguments.having(
        peer=sender.peer.id,
        user=sender.peer.user,
        transaction=transaction_of(_valid_transaction(sender.transaction)),
        head=head_of(invite_id, inviter, callee),
    )
    return Operation("dead", entry.id, arguments)


def dead_internal(entry: Entry, stream: str, sentence: str) -> Operation:
    """The operation that makes a dead letter of an entry in `stream`, to which only workers write.

    The letter names the stream, so that an operator can put the entry back.
    """
    kept = kept_fields(entry.fields, stream)
    arguments = DeadArguments(stream, sentence[:KEPT], entry.deliveries, stream=stream, arguments=kept)
    return Operation("dead", entry.id, arguments)


def _valid_transaction(value: object) -> str | int | None:
    """A transaction as the contract allows it: the peer must not get one back that it could not have sent."""
    try:
        valid: str | int = msgspec.convert(value, Transaction)
    except msgspec.ValidationError:
        return None
    return valid


def _text(value: object) -> str | None:
    """A text for the answer, unless it is too long for an id: an answer must not carry a payload of any length."""
    return value if isinstance(value, str) and len(value) <= MAX_ID else None
