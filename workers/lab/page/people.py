"""The people of the page, their devices, the group, the number, and sippo-server's data about them."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from invites.client import Peer, Registry
from invites.sippo import PushDevice
from workers.lab.fake_sippo import Directory, GroupEntry


class Device(msgspec.Struct, frozen=True, omit_defaults=True):
    """A device. Its `id` is the hardware's. One that `sleeps` is woken by a push."""

    id: str
    name: str
    kind: Literal["browser", "desk", "phone"]
    sleeps: bool = False


class Person(msgspec.Struct, frozen=True, omit_defaults=True):
    """A user with devices. A `guest` cannot be called: it has only a link and asks to be invited."""

    user: str
    name: str
    devices: tuple[Device, ...]
    guest: bool = False


class Target(msgspec.Struct, frozen=True):
    """A callee: a user, the group or the number."""

    to: str
    name: str
    kind: Literal["user", "group", "number"]


GROUP: Final = "support"
NUMBER: Final = "+34600123456"
NETWORK: Final = Peer("phone-network-1", "phone-network")
"""The gateway to the phone network. The page plays the telephone behind it."""

_MEMBERS: Final = ("carol", "dave")

PEOPLE: Final = (
    Person(
        "anna",
        "Anna",
        (Device("anna-browser", "Browser", "browser"), Device("anna-desk", "Desk computer", "desk")),
    ),
    Person(
        "bob",
        "Bob",
        (
            Device("bob-browser", "Browser", "browser"),
            Device("bob-phone", "Phone", "phone", sleeps=True),
            Device("bob-desk", "Desk computer", "desk"),
        ),
    ),
    Person("carol", "Carol", (Device("carol-browser", "Browser", "browser"),)),
    Person("dave", "Dave", (Device("dave-phone", "Phone", "phone"),)),
    Person("guest", "Guest", (Device("guest-browser", "Browser", "browser"),), guest=True),
)

TARGETS: Final = (
    *(Target(person.user, person.name, "user") for person in PEOPLE if not person.guest),
    Target(GROUP, "Support", "group"),
    Target(NUMBER, "+34 600 123 456", "number"),
)

CAST: Final = {
    "people": PEOPLE,
    "targets": TARGETS,
    "members": {GROUP: _MEMBERS},
    "network": {"peer": NETWORK.id, "user": NETWORK.user, "number": NUMBER},
}
"""The page's data about all of them."""

_OWNERS: Final = {device.id: person.user for person in PEOPLE for device in person.devices}


def owner_of(device: str) -> str | None:
    """The user of a device; None if there is no such device."""
    return _OWNERS.get(device)


def directory() -> Directory:
    """The fake sippo-server's data: the group, and the phones that a push can wake."""
    return Directory(
        users={
            person.user: [PushDevice(device.id, "ios") for device in person.devices if device.sleeps]
            for person in PEOPLE
            if any(device.sleeps for device in person.devices)
        },
        groups={GROUP: GroupEntry(list(_MEMBERS))},
    )


def trunk() -> Registry:
    """The registration of the gateway to the phone network."""
    return Registry(id=NETWORK.id, user=NETWORK.user, type="PSTN", trunk=True, match=r"\+[0-9]+")
