"""The data of the fake sippo-server: users with their push devices, groups and numbers."""

from __future__ import annotations

from typing import Any

import msgspec

from invites.events.fields import Id
from invites.sippo.answers import PushDevice, Reachability, Strategy


class GroupEntry(msgspec.Struct, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    """A group. Without a strategy, replies about it have no `ringingStrategy`."""

    participants: list[Id]
    name: str = ""
    ringing_strategy: Strategy | None = None


class Directory(msgspec.Struct, forbid_unknown_fields=True):
    """All data. It may be changed while the fake sippo-server runs.

    `users` maps each user to its push devices. `gone` lists devices (as "user/device") whose pushes fail with 410.
    `resources` overrides replies of `reachability`, which otherwise follow from users, groups and numbers.
    """

    users: dict[Id, list[PushDevice]] = msgspec.field(default_factory=dict)
    groups: dict[Id, GroupEntry] = msgspec.field(default_factory=dict)
    numbers: set[Id] = msgspec.field(default_factory=set)
    resources: dict[Id, Reachability] = msgspec.field(default_factory=dict)
    gone: set[str] = msgspec.field(default_factory=set)

    def has_device(self, user: str, device: str) -> bool:
        """Whether `device` is a push device of the user."""
        return any(known.id == device for known in self.users.get(user, ()))

    def group(self, name: str) -> dict[str, Any] | None:
        """The reply of `groups`; None for 404."""
        entry = self.groups.get(name)
        if entry is None:
            return None
        answer = {"id": name, "name": entry.name or name, "participants": entry.participants}
        return answer | _strategy(entry)

    def push_devices(self, name: str) -> dict[str, Any] | None:
        """The reply of `pushDevices`; None for 404."""
        devices = self.users.get(name)
        return None if devices is None else {"devices": devices}

    def reachability(self, name: str) -> dict[str, Any] | None:
        """The reply of `reachability`; None for 404. Users take precedence over groups, groups over numbers."""
        if name in self.resources:
            found: dict[str, Any] = msgspec.to_builtins(self.resources[name])
            return found
        if name in self.users:
            return {"candidatesType": "user", "candidates": self._candidates(name)}
        entry = self.groups.get(name)
        if entry is not None:
            members = [one for member in entry.participants for one in self._candidates(member)]
            return {"candidatesType": "group", "candidates": members} | _strategy(entry)
        if name in self.numbers:
            return {"candidatesType": "phone", "candidates": [{"address": name, "type": "PSTN"}]}
        return None

    def _candidates(self, user: str) -> list[dict[str, str]]:
        pushed = [
            {"address": user, "type": "PUSH", "id": device.id, "platform": device.platform}
            for device in self.users.get(user, ())
        ]
        return [{"address": user, "type": "PEER"}, *pushed]


def _strategy(entry: GroupEntry) -> dict[str, str]:
    return {} if entry.ringing_strategy is None else {"ringingStrategy": entry.ringing_strategy}
