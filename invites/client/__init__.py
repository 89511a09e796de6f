"""What publishers and gateways import: publish events, ask and wait for the answer, read notifications.

The events are those of `invites.events.protocol`, the notifications those of `invites.notifications`. The page
contract/gateways.md shows how to use both.
"""

from invites.client.notifications import Notifications
from invites.client.publisher import Publisher, opaque
from invites.events.fields import BadEvent
from invites.events.protocol import (
    Accept,
    Decline,
    Disconnected,
    Event,
    GetInvitations,
    Invite,
    InviteRequest,
    Joined,
    Left,
    Peer,
    Registered,
    Registry,
    Ringing,
    RoomClosed,
    Silence,
    StopInvite,
    Unregistered,
    UserState,
)
from invites.notifications import Notification
from invites.store.layout import LayoutError

__all__ = [
    "Accept",
    "BadEvent",
    "Decline",
    "Disconnected",
    "Event",
    "GetInvitations",
    "Invite",
    "InviteRequest",
    "Joined",
    "LayoutError",
    "Left",
    "Notification",
    "Notifications",
    "Peer",
    "Publisher",
    "Registered",
    "Registry",
    "Ringing",
    "RoomClosed",
    "Silence",
    "StopInvite",
    "Unregistered",
    "UserState",
    "opaque",
]
