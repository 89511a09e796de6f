"""Who is in a call, and the effect on new invites."""

from __future__ import annotations

from dataclasses import dataclass

from .core import Settings, TrunkMatcher
from .joining import Joining
from .state import DAY, Candidate, Id, Invite, Payload, Room

JOIN_WITHIN = 30_000
"""ms between an accept and the join."""


@dataclass
class InCall:
    """A room of a user, since when and as which peer; `till` then the user must have joined."""

    peer: str
    entry: Id
    till: int | None = None


class Busy(Joining):
    """`whenBusy`, and `onlyOneDeviceWithInvitations` of later invites."""

    def __init__(self, settings: Settings, matches: TrunkMatcher) -> None:
        super().__init__(settings, matches)
        self.in_calls: dict[str, dict[str, InCall]] = {}

    def rooms_of(self, user: str) -> dict[str, InCall]:
        return self.in_calls.setdefault(user, {})

    def enter(self, user: str, room: str, peer: str, till: int | None) -> None:
        rooms = self.rooms_of(user)
        if not rooms:
            self.tell("userBusy", [], [], {"userId": user, "room": room})
        self.keep(user, room, InCall(peer, self.entry, till))

    def keep(self, user: str, room: str, call: InCall) -> None:
        self.rooms_of(user)[room] = call
        self.timers[f"busy|{user}|{room}"] = call.till or self.now + DAY

    def free(self, user: str, room: str) -> None:
        del self.rooms_of(user)[room]
        self.timers.pop(f"busy|{user}|{room}", None)
        if not self.rooms_of(user):
            self.tell("userFree", [], [], {"userId": user, "room": room})

    def give_grace(self, user: str, room: str) -> None:
        name = f"busy|{user}|{room}"
        self.timers[name] = min(self.timers[name], self.now + self.settings.caller_grace)

    def is_in(self, room_id: str, user: str, peer: Payload | None) -> None:
        known = self.rooms_of(user).get(room_id)
        name = peer["id"] if peer else known and known.peer
        if name:
            if known:
                self.keep(user, room_id, InCall(name, self.entry))
            else:
                self.enter(user, room_id, name, None)
            lost = self.presence.lost_at(user, name)
            if lost and lost > self.entry:
                self.give_grace(user, room_id)
        super().is_in(room_id, user, peer)

    def out_of_room(self, user: str, room: str, entry: Id) -> None:
        known = self.rooms_of(user).get(room)
        if known and known.entry <= entry:
            self.free(user, room)

    def peer_lost(self, user: str, peer: str) -> None:
        for room, call in self.rooms_of(user).items():
            if call.peer == peer:
                self.give_grace(user, room)

    def device_moved(self, user: str, peer: str, device: str | None) -> None:
        for room, call in self.rooms_of(user).items():
            if device and call.peer != peer and self.presence.last_device(user, call.peer) == device:
                call.peer = peer
                self.timers[f"busy|{user}|{room}"] = call.till or call.entry[0] + DAY

    def now_in_call(self, invite: Invite, user: str | None, peer: str) -> None:
        settings = self.settings
        asked_for = settings.track_busy or settings.when_busy != "ring"
        counts = (asked_for or settings.only_one_device_with_invitations) and not invite.probe
        if invite.room is None or not counts:
            return
        both = [(user, peer)] if user is not None and user == invite.to else []
        both.append((invite.sender, invite.caller))
        for who, name in both:
            there = self.presence.get(who, name)
            if not (there and there.trunk) and invite.room not in self.rooms_of(who):
                room = self.rooms.get(invite.room) or Room()
                left = room.left.get(who)
                if who in room.members:
                    self.enter(who, invite.room, name, None)
                elif not (left and self.entry < left[0]):
                    self.enter(who, invite.room, name, self.now + JOIN_WITHIN)

    def check_call(self, user: str, room: str) -> None:
        """The timer of a room."""
        call = self.rooms_of(user).get(room)
        if call is None:
            return
        back = self.whoever_is(user, call.peer)
        lost = None if back else self.presence.lost_at(user, call.peer)
        deadline = call.till or call.entry[0] + DAY
        if deadline <= self.now or (lost and lost > call.entry):
            self.free(user, room)
        else:
            call.peer = back.peer if back else call.peer
            self.timers[f"busy|{user}|{room}"] = deadline

    # -- new invites

    def choose(self, invite: Invite, devices: list[Candidate]) -> list[Candidate]:
        """Which of the devices ring for a callee who may be in a call."""
        only = self.settings.only_one_device_with_invitations and not invite.waiting
        elsewhere = [call for room, call in self.rooms_of(invite.to).items() if room != invite.room]
        if not elsewhere or (self.settings.when_busy == "ring" and not only):
            return devices
        if self.settings.when_busy == "reject":
            return []
        invite.second = self.settings.when_busy == "waiting"
        if not only:
            return devices
        invite.asked = True
        peers = [
            (call.peer, self.presence.last_device(invite.to, call.peer))
            for call in self.rooms_of(invite.to).values()
        ]
        return [
            each
            for each in devices
            if each.user == invite.to and any(each.same_device(peer, device) for peer, device in peers)
        ]

    def call_devices(self, invite: Invite, event: Payload, devices: list[Candidate]) -> None:
        rung = devices if invite.asked else self.choose(invite, devices)
        if rung:
            super().call_devices(invite, event, rung)
        else:
            invite.waiting = False
            self.end(invite, "DECLINED", 486, "busy")
