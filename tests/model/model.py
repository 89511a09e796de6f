"""The rules of a call in plain Python, written from the wire contract and independent of the scripts."""

from __future__ import annotations

import json
import math
from collections.abc import Collection
from typing import Any

from invites.lookup.result import LookupResult

from .busy import Busy
from .devices import Devices
from .glare import Glare
from .silence import Silence
from .state import TOLERANCE, Id, Invite, Notification, Payload, Room, order

PATIENCE = 6_000
"""ms; how long a timer waits for an event that was published before it was due."""
BREAK = 2_000
"""ms; workers look more often than this while they run."""


class Model(Busy, Glare, Silence, Devices):
    """All rules, one event or one moment at a time."""

    def apply(  # noqa: C901, PLR0912 - one branch for each type
        self, kind: str, payload: Payload, entry_id: str, now_ms: int, found: LookupResult | None = None
    ) -> list[Notification]:
        """Commit one event with the result of its lookup; returns all notifications."""
        self.now, self.out, self.found = now_ms, [], found
        self.forget()
        entry = self.entry = self.not_ahead(order(entry_id))
        match kind:
            case "invite" | "inviteRequest":
                self.invite(payload, entry, request=kind == "inviteRequest")
            case "ringing":
                self.ringing(payload, entry)
            case "accept":
                self.accept(payload)
            case "decline":
                self.decline(payload, entry)
            case "silence":
                self.silence(payload)
            case "stopInvite":
                self.stop(payload, entry)
            case "getInvitations":
                self.get_invitations(payload, entry)
            case "registered":
                self.registered(payload["registry"], entry)
            case "unregistered" | "disconnected":
                self.gone(payload, entry)
            case "joined":
                self.joined(payload["roomId"], payload["userId"], entry, payload.get("peer"))
            case "left":
                self.left(payload["roomId"], payload["userId"], entry)
            case "roomClosed":
                self.room_closed(payload["roomId"], entry)
            case "userState":
                self.wishes.say(payload, entry)
            case "pushTaken" | "pushGone" | "pushUnsure" | "pushDropped":
                self.pushed(kind, payload["ref"], payload["device"])
            case _:
                raise AssertionError(f"the model knows no event {kind}")
        return self.out

    def not_ahead(self, entry: Id) -> Id:
        """An id from the future counts as now."""
        return (self.now, *entry[1:]) if entry[0] > self.now + TOLERANCE else entry

    def fire(  # noqa: C901 - one branch for each kind
        self, now_ms: int, unsettled: Collection[int] = ()
    ) -> list[Notification]:
        """Apply due timers, in the order of due times (then of names, as a sorted set gives them).

        A timer waits for the `unsettled` events that were published (ms) up to its time.
        """
        self.now, self.out = now_ms, []
        self.forget()
        oldest = min(unsettled, default=math.inf)
        if any(oldest <= at <= now_ms for at in self.timers.values()):
            self.look()
        while due := [(at, name) for name, at in self.timers.items() if at <= now_ms]:
            at, name = min(due)
            if oldest <= at:
                self.look()
                if now_ms < max(at, self.waiting_since) + PATIENCE:
                    break
            del self.timers[name]
            self.entry = (at, 0, 0)
            kind, _, rest = name.partition("|")
            if kind == "ring":
                self.end(self.invites[rest], "DECLINED_BY_TIMEOUT", 408, "timeout")
                continue
            if kind == "step":
                self.turn_over(self.invites[rest])
                continue
            if kind == "wake":
                self.wake(rest)
                continue
            user, _, peer = rest.partition("|")
            if kind == "grace":
                self.grace_over(user, peer)
            elif kind == "busy":
                self.check_call(user, peer)
            elif kind == "left":
                self.stays_away(user, peer, at)
            elif kind == "caller":
                self.caller_over(user, peer, at)
            else:
                self.lapsed(user, peer, at)
        return self.out

    def look(self) -> None:
        """A worker finds that timers wait. After a longer break their patience begins again."""
        if self.now >= self.looked_at + BREAK:
            self.waiting_since = self.now
        self.looked_at = self.now

    # -- rooms

    def joined(self, room_id: str, user: str, entry: Id, peer: Payload | None) -> None:
        room = self.rooms.setdefault(room_id, Room())
        left = room.left.get(user)
        if (left and entry < left[0]) or (room.closed and entry < room.closed[0]):
            return
        if user not in room.members:
            self.tell_room(room, "userJoined", user, room_id)
        is_latest = entry >= room.members.get(user, entry)
        room.members[user] = max(entry, room.members.get(user, entry))
        if left and self.settings.room_grace:
            del room.left[user]
            self.timers.pop(f"left|{room_id}|{user}", None)
        if is_latest:
            self.is_in(room_id, user, peer)

    def left(self, room_id: str, user: str, entry: Id) -> None:
        room = self.rooms.setdefault(room_id, Room())
        known = room.left.get(user)
        if not (known and entry < known[0]):
            self.out_of_room(user, room_id, entry)
        room.left[user] = max(entry, known[0] if known else entry), self.order_until()
        if user in room.members and room.members[user] < entry:
            del room.members[user]
            room.peers.pop(user, None)
            self.tell_room(room, "userLeft", user, room_id)
        if self.settings.room_grace:
            is_back = user in room.members or (known and entry < known[0])
            if not is_back and not (room.closed and entry < room.closed[0]):
                due = min(entry[0], self.now) + self.settings.room_grace
                self.timers.setdefault(f"left|{room_id}|{user}", due)
            return
        self.inviter_left(room_id, user, entry)

    def stays_away(self, room_id: str, user: str, due: int) -> None:
        """The inviter was not back in time."""
        known = self.rooms[room_id].left.get(user)
        self.inviter_left(room_id, user, known[0] if known else (due - self.settings.room_grace, 0, 0))

    def inviter_left(self, room_id: str, user: str, entry: Id) -> None:
        for invite in self.pending():
            mine = (invite.sender, invite.room) == (user, room_id) and not invite.is_leg
            if mine and invite.pending and invite.entered < entry:
                self.end(invite, "DECLINED_BY_CREATOR", 487, "caller_gone")

    def tell_room(self, room: Room, kind: str, user: str, room_id: str) -> None:
        others = [each for each in room.members if each != user]
        if others:
            self.tell(kind, [], others, {"userId": user, "roomId": room_id})

    def room_closed(self, room_id: str, entry: Id) -> None:
        room = self.rooms.setdefault(room_id, Room())
        for user, since in room.members.items():
            if since <= entry and not (room.closed and entry < room.closed[0]):
                self.out_of_room(user, room_id, entry)
        room.closed = max(entry, room.closed[0] if room.closed else entry), self.order_until()
        room.members = {user: since for user, since in room.members.items() if since > entry}
        room.peers = {user: peer for user, peer in room.peers.items() if user in room.members}
        there = [each for each in self.pending() if each.room == room_id and not each.is_leg]
        ended = [each for each in there if each.entered < entry]
        for invite in ended:
            self.end(invite, "DECLINED_BY_CREATOR", 487, "room_closed")
        self.tell("roomCleaned", [], [], {"roomId": room_id, "invites": len(ended)})

    # -- to compare with what Redis holds

    def snapshot(self, now_ms: int) -> dict[str, Any]:
        """Everything that an operator can read at this time, without empty collections."""
        self.now = now_ms
        self.forget()
        registry: dict[str, dict[str, Any]] = {}
        for there in self.presence.everybody():
            registry.setdefault(there.user, {})[there.peer] = {
                "device": there.device,
                "session": there.session,
            }
        pending: dict[str, list[str]] = {}
        rooms: dict[str, list[str]] = {}
        for invite in self.pending():
            for user in {invite.to, *(each.user for each in invite.candidates.values())}:
                if invite in self.ringing_for(user):
                    pending.setdefault(user, []).append(invite.ref)
            if invite.room is not None and not invite.is_leg:
                rooms.setdefault(invite.room, []).append(invite.ref)
        return {
            "invites": {ref: self._invite_view(ref) for ref in self.invites},
            "registry": registry,
            "pending": {user: sorted(refs) for user, refs in pending.items()},
            "room-invites": {room: sorted(refs) for room, refs in rooms.items()},
            "room-members": {name: sorted(room.members) for name, room in self.rooms.items() if room.members},
            "legs": {each.ref: self._legs_view(each) for each in self.invites.values() if each.legs},
            "timers": dict(self.timers),
        }

    @staticmethod
    def _legs_view(call: Invite) -> dict[str, Any]:
        return {
            user: {"state": leg.state, "endReason": leg.end_reason, "peer": leg.peer}
            for user, leg in call.legs.items()
        }

    def _invite_view(self, ref: str) -> dict[str, Any]:
        invite = self.invites[ref]
        is_needed = invite.state == "PENDING" or invite.group == invite.to
        return {
            "state": invite.state,
            "code": invite.code,
            "reason": invite.reason,
            "from": invite.sender,
            "to": invite.to,
            "inviteId": invite.invite_id,
            "room": invite.room,
            "caller": invite.caller,
            "group": invite.group,
            "inviteRequest": invite.request,
            "mediatypes": json.dumps(invite.mediatypes if is_needed else None),
            "context": json.dumps(invite.context if is_needed else None),
            "createdAt": invite.started_at,
            "expiresAt": invite.deadline,
            "endedAt": invite.ended_at,
            "whoAccepted": invite.who,
            "acceptedBy": invite.winner,
            "candidates": {
                key: {
                    "address": each.address,
                    "type": each.type,
                    "state": each.state,
                    "endReason": each.end_reason,
                    "device": each.device,
                    "silenced": each.silenced or None,
                }
                for key, each in invite.candidates.items()
            },
        }
