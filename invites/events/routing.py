"""The shard that an event belongs to: that of the name it is about, wherever it is published."""

from invites.events import protocol
from invites.events.protocol import Event
from invites.values.ref import Ref


def routing_key(event: Event) -> str:  # noqa: PLR0911 - one for each kind of event
    """The id that decides the shard of an event.

    A returned phone leg belongs to the invite that it is part of, whatever its own `to` is.
    """
    match event:
        case protocol.Invite(return_of=str(ref)):
            return Ref.parse(ref).callee
        case protocol.Invite() | protocol.InviteRequest():
            return event.to
        case protocol.Ringing() | protocol.Accept() | protocol.Decline() | protocol.Silence():
            return event.to or event.peer.user
        case protocol.StopInvite():
            return event.callee
        case protocol.Registered():
            return event.registry.user
        case protocol.Joined() | protocol.Left() | protocol.RoomClosed():
            return event.room_id
        case protocol.UserState() | protocol.CallsSeen():
            return event.user_id
        case protocol.GetInvitations() | protocol.Unregistered() | protocol.Disconnected():
            return event.peer.user
