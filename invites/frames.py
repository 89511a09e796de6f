"""What goes over the WebSocket between a device and its gateway, besides notifications (contract/websocket.md)."""

from __future__ import annotations

from typing import Final

import msgspec

LOGIN: Final = "login"
LOGOUT: Final = "logout"

SET_BY_GATEWAY: Final[dict[str, tuple[str, ...]]] = {
    "invite": ("peer", "probe"),  # a person's call has a record
    "inviteRequest": ("peer",),
    "ringing": ("peer",),
    "accept": ("peer",),
    "decline": ("peer",),
    "silence": ("peer",),
    "stopInvite": ("peer", "from"),
    "getInvitations": ("peer",),
    "userState": ("userId",),
    "callsSeen": ("userId",),
}
"""The events that a device can send. The gateway sets these of their fields, whatever the device says."""


class _Payload(msgspec.Struct, frozen=True, kw_only=True):
    pass


class Login(_Payload, frozen=True, kw_only=True):
    """The first message of a device. `token` is a JSON Web Token, `resume` the peer of an earlier connection."""

    token: str
    resume: str | None = None


class Welcome(_Payload, frozen=True, kw_only=True):
    """The device is logged in as `peer`. It counts as registered for `expires` ms if its gateway dies."""

    peer: str
    user: str
    device: str | None
    expires: int


class Refusal(_Payload, frozen=True, kw_only=True, omit_defaults=True):
    """A message of the device is invalid, or could not be published. `request` is its type."""

    message: str
    request: str | None = None
    transaction: str | int | None = None


TO_DEVICES: Final[dict[str, type[msgspec.Struct]]] = {"welcome": Welcome, "error": Refusal}
"""The payloads of what a device gets besides notifications, by type."""
