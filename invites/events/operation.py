"""One call of a rule, and how an event becomes one."""

from typing import Final, Self

import msgspec

from invites.events import protocol
from invites.events.arguments import (
    AcceptArguments,
    Arguments,
    CallsSeenArguments,
    DeclineArguments,
    DisconnectedArguments,
    GetInvitationsArguments,
    InviteArguments,
    InviteReturnArguments,
    JoinedArguments,
    LeftArguments,
    RegisteredArguments,
    RelayedEventArguments,
    RingingArguments,
    RoomClosedArguments,
    SilenceArguments,
    StopInviteArguments,
    UserStateArguments,
    Value,
)
from invites.events.entry import Entry
from invites.events.fields import compact
from invites.events.protocol import Event
from invites.values.ref import Ref
from invites.values.traceparent import FIELD, traceparent_of

_JSON: Final = msgspec.json.Encoder()
_TRACEPARENT: Final = FIELD.encode()


class Operation(msgspec.Struct, frozen=True):
    """One call of a rule in `lua/events`: the rule's name, the entry that asks for it, its arguments.

    `event` is the decoded event, for the log and for lookups; None for an entry that is not an event. `shard` is set
    for an entry of the relay stream that another shard takes. `trace` is the entry's traceparent, "" for none: what the
    rule adds to streams carries it.
    """

    rule: str
    entry: str
    arguments: Arguments
    event: Event | None = None
    shard: int | None = None
    trace: str = ""

    def of_trace(self, entry: Entry) -> Self:
        """The same operation with the traceparent of its entry, if that has one."""
        value = entry.fields.get(_TRACEPARENT)
        return self if value is None else msgspec.structs.replace(self, trace=traceparent_of(value))

    @property
    def event_rule(self) -> str:
        """The rule of the event itself, even if the event came over the relay stream."""
        arguments = self.arguments
        return arguments.rule if isinstance(arguments, RelayedEventArguments) else self.rule

    @property
    def ref(self) -> str:
        """The ref of the invite that the operation is about; "" if it is about none, or about several."""
        arguments = self.arguments
        if isinstance(arguments, RelayedEventArguments):
            arguments = arguments.arguments
        match arguments:
            case InviteArguments():
                return f"{arguments.user}|{arguments.invite_id}|{arguments.to}"
            case InviteReturnArguments():
                return arguments.return_of
            case StopInviteArguments() if arguments.from_:
                return f"{arguments.from_}|{arguments.invite_id}|{arguments.callee}"
        return getattr(arguments, "ref", "")

    def having(self, **fields: Value) -> Self:
        """The same operation with other values in some fields of its arguments."""
        return msgspec.structs.replace(self, arguments=self.arguments.having(**fields))


def operation_of(entry: str, event: Event) -> Operation:
    """The call of the event's rule; `entry` is the id of the entry that it came with."""
    rule, arguments = _call(event, entry)
    return Operation(rule, entry, arguments, event)


class _Head(msgspec.Struct):
    invite_id: str | None = msgspec.field(name="inviteId")
    from_: str | None = msgspec.field(name="from")
    to: str | None


def head_of(invite_id: str | None, inviter: str | None, callee: str | None) -> bytes:
    """The beginning of every payload about an invite, an open JSON object. This saves the rules the quoting."""
    return _JSON.encode(_Head(invite_id, inviter, callee))[:-1]


def transaction_of(value: str | int | None) -> bytes:
    """A transaction as JSON; b"" for none."""
    return b"" if value is None else _JSON.encode(value)


def _call(event: Event, entry: str) -> tuple[str, Arguments]:  # noqa: C901, PLR0911, PLR0912 - one case for each kind of event
    match event:
        case protocol.Invite(return_of=str(first)):
            peer = event.peer
            head = head_of(event.invite_id, peer.user, event.to)
            transaction = transaction_of(event.transaction)
            return "inviteReturn", InviteReturnArguments(
                peer.id, peer.user, head, first, event.to, transaction, device=peer.device or ""
            )
        case protocol.Invite():
            return "invite", _invite(event, event.room, event.request_id or "", invite_request="0")
        case protocol.InviteRequest():
            return "invite", _invite(event, "", "", invite_request="1")
        case protocol.Ringing():
            return "ringing", RingingArguments(*_reply(event), event.peer.device or "")
        case protocol.Accept():
            transaction = transaction_of(event.transaction)
            return "accept", AcceptArguments(
                *_reply(event),
                transaction,
                compact(event.context),
                event.peer.device or "",
                "1" if event.confirmed else "",
            )
        case protocol.Decline():
            return "decline", _decline(event)
        case protocol.Silence():
            transaction = transaction_of(event.transaction)
            return "silence", SilenceArguments(*_reply(event), transaction, event.peer.device or "")
        case protocol.StopInvite():
            return "stopInvite", _stop(event)
        case protocol.GetInvitations():
            peer = event.peer
            transaction = transaction_of(event.transaction)
            return "getInvitations", GetInvitationsArguments(
                peer.id, peer.user, transaction, device=peer.device or ""
            )
        case protocol.Registered():
            return "registered", _registered(entry, event.registry)
        case protocol.Unregistered() | protocol.Disconnected():
            peer = event.peer
            return "disconnected", DisconnectedArguments(
                peer.id, peer.user, event.session or "", peer.device or ""
            )
        case protocol.Joined():
            joining = event.peer
            return "joined", JoinedArguments(
                event.user_id,
                event.room_id,
                joining.id if joining else "",
                (joining and joining.device) or "",
            )
        case protocol.Left():
            return "left", LeftArguments(event.user_id, event.room_id)
        case protocol.RoomClosed():
            return "roomClosed", RoomClosedArguments(event.room_id)
        case protocol.UserState():
            return "userState", _user_state(event)
        case protocol.CallsSeen():
            return "callsSeen", CallsSeenArguments(
                event.user_id, "" if event.before is None else event.before
            )


def _reply(
    event: protocol.Ringing | protocol.Accept | protocol.Decline | protocol.Silence,
) -> tuple[str, str, str, bytes]:
    callee = event.to or event.peer.user
    ref = str(Ref(event.from_, event.invite_id, callee))
    return event.peer.id, event.peer.user, ref, head_of(event.invite_id, event.from_, callee)


def _decline(event: protocol.Decline) -> DeclineArguments:
    code = "" if event.error_code is None else event.error_code
    callee = event.to or event.peer.user
    transaction = transaction_of(event.transaction)
    context = compact(event.context)
    return DeclineArguments(
        *_reply(event), event.from_, callee, code, transaction, context, event.peer.device or ""
    )


def _invite(
    event: protocol.Invite | protocol.InviteRequest, room: str, request_id: str, *, invite_request: str
) -> InviteArguments:
    invite = event if isinstance(event, protocol.Invite) else None
    return InviteArguments(
        peer=event.peer.id,
        user=event.peer.user,
        to=event.to,
        invite_id=event.invite_id,
        head=head_of(event.invite_id, event.peer.user, event.to),
        room=room,
        mediatypes=compact(event.mediatypes),
        from_details=compact(event.from_details),
        context=compact(event.context),
        expires="" if event.expires is None else event.expires,
        request_id=request_id,
        transaction=transaction_of(event.transaction),
        invite_request=invite_request,
        replaces=(invite and invite.replaces) or "",
        ring_mode=(invite and invite.ring_mode) or "",
        probe="1" if invite and invite.probe else "",
        device=event.peer.device or "",
    )


def _stop(event: protocol.StopInvite) -> StopInviteArguments:
    peer = event.peer
    inviter = event.from_ or (peer.user if peer else "")
    return StopInviteArguments(
        peer=peer.id if peer else "",
        user=peer.user if peer else "",
        from_=inviter,
        invite_id=event.invite_id,
        callee=event.callee,
        head=head_of(event.invite_id, inviter, event.callee),
        error_code=event.error_code,
        transaction=transaction_of(event.transaction),
    )


def _user_state(event: protocol.UserState) -> UserStateArguments:
    blocked = "".join(f"{user}|" for user in dict.fromkeys(event.block or ()))
    until = event.until if event.dnd and event.until is not None else ""
    return UserStateArguments(event.user_id, "1" if event.dnd else "0", until, blocked)


def _registered(entry: str, registry: protocol.Registry) -> RegisteredArguments:
    stored: dict[str, object] = {"id": registry.id, "user": registry.user, "type": registry.type}
    for name in ("device", "session", "expires"):
        value = getattr(registry, name)
        if value is not None:
            stored[name] = value
    if registry.trunk:
        stored |= {"trunk": True, "match": registry.match}
        if registry.confirm:
            stored["confirm"] = True
    stored["at"] = entry
    return RegisteredArguments(
        user=registry.user,
        peer=registry.id,
        registry=_JSON.encode(stored),
        device=registry.device or "",
        session=registry.session or "",
        expires="" if registry.expires is None else registry.expires,
        trunk="1" if registry.trunk else "0",
    )
