"""The common part of all rules: who is told, how a call rings and ends, what is kept and for how long."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

from .presence import Presence, Registration
from .state import (
    HOUR,
    MINUTE,
    Candidate,
    Id,
    Invite,
    Loss,
    Notification,
    Payload,
    Room,
    Tombstone,
    said,
)
from .wishes import Wishes

TrunkMatcher = Callable[[str, str], bool]
"""`(match, number)`: whether a trunk's expression fits the whole of a number."""

REFUSALS = {
    "caller_gone": (480, "unreachable"),
    "cancelled": (410, "cancelled"),
    "replaced": (410, "cancelled"),
    "declined": (403, "forbidden"),
}
"""How a request ended, and the end of an invite that still answers it."""
ELSEWHERE = {
    "accepted": "accepted_elsewhere",
    "merged": "accepted_elsewhere",
    "declined": "declined_elsewhere",
    "busy": "busy_elsewhere",
}


class Settings(Protocol):
    """The part of the configuration that the rules depend on; times in ms."""

    @property
    def remove_after(self) -> int: ...
    @property
    def ring_timeout(self) -> int: ...
    @property
    def max_ring_timeout(self) -> int: ...
    @property
    def caller_grace(self) -> int: ...
    @property
    def retain_after(self) -> int: ...
    @property
    def parallel_sip(self) -> bool: ...
    @property
    def only_one_device_with_invitations(self) -> bool: ...
    @property
    def ringing_step(self) -> int: ...
    @property
    def max_group_size(self) -> int: ...
    @property
    def look_up(self) -> str: ...
    @property
    def push_after(self) -> int: ...
    @property
    def redial(self) -> str: ...
    @property
    def glare(self) -> str: ...
    @property
    def join_accepts(self) -> bool: ...
    @property
    def room_grace(self) -> int: ...
    @property
    def when_busy(self) -> str: ...
    @property
    def track_busy(self) -> bool: ...
    @property
    def devices_per_user(self) -> int: ...


def order_kept(settings: Settings) -> int:
    """For how long (ms) the order of delayed events is remembered."""
    graces = settings.caller_grace, settings.remove_after, settings.room_grace
    return max(HOUR, max(graces) + MINUTE)


class Core:
    """State, and the steps that several rules take."""

    def __init__(self, settings: Settings, matches: TrunkMatcher) -> None:
        self.settings = settings
        self.matches = matches
        self.now = 0
        self.entry: Id = (0, 0, 0)
        self.invites: dict[str, Invite] = {}
        self.presence = Presence(order_kept(settings))
        self.wishes = Wishes()
        self.tombstones: dict[tuple[str, str, str | None], Tombstone] = {}
        self.rooms: dict[str, Room] = {}
        self.requests: dict[str, tuple[str, int]] = {}
        self.refusals: dict[str, tuple[int, str]] = {}
        self.timers: dict[str, int] = {}
        self.missed: dict[str, Loss] = {}
        self.missed_until: dict[str, int] = {}
        self.away: dict[tuple[str, str], tuple[int, Registration]] = {}
        self.waiting_since = self.looked_at = 0
        self.out: list[Notification] = []
        self.met: dict[tuple[str, str], tuple[Invite, Id]] = {}

    def forget(self) -> None:
        """Drop expired data."""
        over = [
            ref
            for ref, each in self.invites.items()
            if each.ended_at is not None and self.over_until(each, each.ended_at) <= self.now
        ]
        for ref in over:
            del self.invites[ref]
        for key in [key for key, each in self.tombstones.items() if each.until <= self.now]:
            del self.tombstones[key]
        self.requests = {ref: kept for ref, kept in self.requests.items() if kept[1] > self.now}
        self.refusals = {ref: each for ref, each in self.refusals.items() if ref in self.requests}
        self.presence.forget(self.now)
        gone = {user for user, until in self.missed_until.items() if until <= self.now}
        self.missed = {ref: loss for ref, loss in self.missed.items() if loss.user not in gone}
        for room in self.rooms.values():
            room.left = {user: kept for user, kept in room.left.items() if kept[1] > self.now}
            if room.closed and room.closed[1] <= self.now:
                room.closed = None

    # -- how long what is over is kept

    def kept(self) -> int:
        return max(self.settings.retain_after, MINUTE)

    def over_until(self, invite: Invite, ended_at: int) -> int:
        return max(invite.deadline, ended_at + self.kept())

    def order_until(self) -> int:
        return self.now + order_kept(self.settings)

    # -- whom calls concern

    def pending(self) -> list[Invite]:
        return [each for each in self.invites.values() if each.pending]

    def ringing_for(self, user: str) -> list[Invite]:
        """The calls that ring for this user now, a trunk's among them."""
        return [
            each
            for each in self.pending()
            if (each.to == user and not each.waiting)
            or any(one.user == user for one in each.candidates.values())
        ]

    # -- who is told

    def tell(self, kind: str, peers: Iterable[str], users: Iterable[str], payload: Payload) -> None:
        self.out.append(Notification(kind, tuple(peers), tuple(dict.fromkeys(users)), payload))

    def tell_inviter(self, invite: Invite, kind: str, payload: Payload) -> None:
        """The inviter, and the trunk whose leg came back to this call."""
        peers, users = [invite.caller], [invite.sender]
        if invite.leg:
            peers.append(invite.leg[0])
            users.append(invite.leg[1])
        self.tell(kind, dict.fromkeys(peers), users, payload)

    def answer(self, event: Payload, request: str, code: int, reason: str | None, **more: Any) -> None:
        """`more`: `sender` and `to` when they differ from the event's; `who`; `invitations`."""
        peer = event["peer"]
        payload: Payload = {
            "request": request,
            "inviteId": event.get("inviteId"),
            "from": more.get("sender", event.get("from")),
            "to": more.get("to", event.get("to") or peer["user"]),
            "code": code,
            "reason": reason,
        }
        if event.get("transaction") is not None:
            payload["transaction"] = event["transaction"]
        if more.get("who") is not None:
            payload["whoAccepted"] = more["who"]
        if "invitations" in more:
            payload["invitations"] = more["invitations"]
        self.tell("answer", [peer["id"]], [peer["user"]], payload)

    def answer_over(self, invite: Invite, event: Payload, request: str, **more: Any) -> None:
        self.answer(event, request, 410, invite.reason, who=invite.who, **{"to": invite.to, **more})

    # -- a call's life

    def ring(self, invite: Invite, candidates: list[Candidate], *, resumed: bool) -> None:
        payload = {
            **invite.identity(),
            "mediatypes": invite.mediatypes,
            "fromDetails": invite.from_details,
            "context": invite.context,
            "inviteRequest": invite.request,
            "expiresIn": max(0, invite.deadline - self.now),
            "resumed": resumed,
        }
        if invite.room is not None:
            payload["room"] = invite.room
        if invite.second:
            payload["waiting"] = True
        if invite.request_id is not None:
            payload["requestId"] = invite.request_id
        if invite.group is not None:
            payload["group"] = invite.group
        heard = [each for each in candidates if not each.silenced]
        self.tell_devices("invitation", invite, heard, payload, invite.deadline)

    def tell_devices(
        self, kind: str, invite: Invite, devices: list[Candidate], payload: Payload, until: int
    ) -> None:
        """One entry for all connected devices, a push job for each other one, which is useful `until` then.

        A trunk is invited by an entry of its own, with the number.
        """
        there = [
            each for each in devices if each.type != "PUSH" and (kind != "invitation" or each.state != "AWAY")
        ]
        trunks = [each for each in there if each.type == "PSTN" and kind == "invitation"]
        there = [each for each in there if each not in trunks]
        if there:
            self.tell(kind, [each.peer for each in there], [each.user for each in there], payload)
        for each in trunks:
            self.tell(kind, [each.peer], [each.user], payload | {"number": each.address})
        for each in devices:
            if each.type == "PUSH":
                job = {"ref": invite.ref, "deadline": until, "payload": payload}
                self.tell(f"push {kind}", [each.device or ""], [each.user], job)

    def expect_ringing(self, invite: Invite, devices: list[Candidate]) -> None:
        """Devices that do not send `ringing` in time are pushed as well."""
        due = self.now + self.settings.push_after
        listed = any(each.push and each.type == "PEER" for each in devices)
        if listed and self.settings.push_after >= 0 and due < invite.deadline:
            self.timers[f"wake|{invite.ref}"] = due

    def progress(self, invite: Invite, code: int | None = None) -> Payload:
        legs = [self.invites[f"{invite.sender}|{invite.invite_id}|{user}"] for user in self.open_legs(invite)]
        there = [each for one in [invite, *legs] for each in one.inside()]
        states = [each.state for each in there]
        asleep = [each for each in there if each.state == "PUSHED" and each.taken]
        also = [each for each in there if each.also == "PUSHED" and each.state != "RINGING"]
        pushed = len(asleep) + len(also)
        present = 180 if "RINGING" in states else 110 if pushed else 100
        return {
            **invite.identity(),
            "code": code or present,
            "candidates": len(states),
            "ringing": states.count("RINGING"),
            "pushed": pushed,
            **({"waiting": True} if invite.second else {}),
        }

    def outcome(self, invite: Invite) -> tuple[str, Payload]:
        """The inviter's outcome, sent at the end, and again when it repeats the invite."""
        if invite.state == "ACCEPTED":
            more = {"room": invite.room, "code": 200, "whoAccepted": invite.who, "peer": invite.winner}
            merged = {"reason": "merged", "into": invite.into} if invite.into else {}
            return "inviteAccepted", {**invite.identity(), **more, **merged, **said(invite.answer)}
        rejected = {**invite.identity(), "code": invite.code, "reason": invite.reason}
        return "inviteRejected", {**rejected, **said(invite.answer)}

    def cancel(self, invite: Invite, devices: list[Candidate], code: int, reason: str) -> None:
        if not devices:
            return
        payload = {**invite.identity(), "code": code, "reason": reason}
        if reason == "accepted_elsewhere":
            payload |= {"whoAccepted": invite.who} | ({"peer": invite.winner} if invite.winner else {})
        self.tell_devices("invitationCancel", invite, devices, payload, self.over_until(invite, self.now))

    def cancel_at_end(self, invite: Invite, devices: list[Candidate]) -> None:
        assert invite.code is not None
        assert invite.reason is not None
        self.cancel(invite, devices, invite.code, ELSEWHERE.get(invite.reason, invite.reason))

    def end(self, invite: Invite, state: str, code: int, reason: str) -> None:
        """The call is over: all that still ring stop, the inviter is told, the record is written."""
        invite.state, invite.code, invite.reason, invite.ended_at = state, code, reason, self.now
        self.timers.pop(f"ring|{invite.ref}", None)
        devices = []
        for each in invite.inside():
            devices += each.to_stop
            each.missed = each.state == "AWAY"
            each.state = "CANCELLED"
            each.end_reason = 408 if code == 408 else 487
        self.cancel_at_end(invite, devices)
        if not invite.is_leg:
            self.refuse_answers(invite)
            self.tell_inviter(invite, *self.outcome(invite))
            if not invite.probe:
                self.tell("INVITE_COMPLETED", [], [], invite.record())

    def refuse_answers(self, request: Invite) -> None:
        """The invite that this request asked for is no longer expected."""
        if request.request and request.reason in REFUSALS and request.ref in self.requests:
            self.refusals[request.ref] = REFUSALS[request.reason]

    def open_legs(self, call: Invite) -> list[str]:
        """The members whose devices ring for a group call."""
        return [user for user, leg in call.legs.items() if leg.state == "RINGING"]

    def end_when_left_alone(self, invite: Invite) -> None:
        """Nobody may accept any more: the best response is the outcome (RFC 3261, 16.7)."""
        if invite.inside():
            return
        best = min(invite.candidates.values(), key=rank)
        code = best.end_reason or 480
        invite.answer = best.context if best.state == "DECLINED" else None
        self.end(invite, "DECLINED", code, why(best))

    def heard(self, _name: str, _to: str, entry: Id) -> Id:
        """The place of an invite in the order of the shard of its inviter or its room."""
        return entry

    def check_caller(self, invite: Invite, said: Id) -> None:
        """A call whose inviter has `said` something last before it went has only its grace left."""
        lost = self.presence.lost_at(invite.sender, invite.caller)
        if lost is not None and said < lost:
            self.caller_lost(invite, lost, self.now + self.settings.caller_grace)

    def caller_lost(self, invite: Invite, lost: Id, till: int) -> None:
        """The call ends then, or earlier if its inviter was lost before. Each call has a grace of its own."""
        known = self.loss_of(invite) or Loss(invite.sender, invite.caller, lost, till)
        known.till = min(known.till, till)
        self.missed[invite.ref] = known
        self.missed_until[known.user] = self.now + self.settings.max_ring_timeout + self.kept()
        self.wait_for_caller(known)

    def lost_there(self, _invite: Invite, loss: Loss) -> int:
        """When the device was lost, by the clock of the invite's shard."""
        return loss.at[0]

    def wait_for_caller(self, loss: Loss) -> None:
        name = f"caller|{loss.user}|{loss.peer}"
        self.timers[name] = min(loss.till, self.timers.get(name, loss.till))

    def loss_of(self, invite: Invite) -> Loss | None:
        """The loss of the inviter's device since which nothing has been heard of it."""
        known = self.missed.get(invite.ref)
        return known if known and known.peer == invite.caller and invite.heard < known.at else None

    def hear_missed(self, user: str, peer: str, device: str | None) -> None:
        """The device is back as `peer`, and is told once how its calls ended while it was away."""
        for ref, loss in list(self.missed.items()):
            mark, invite = self.presence.marked_device(user, loss.peer), self.invites.get(ref)
            if loss.user != user or (loss.peer != peer and (device is None or mark != device)):
                continue
            if invite and invite.pending and loss.peer != peer:
                continue
            del self.missed[ref]
            if (
                invite
                and invite.caller == loss.peer
                and (invite.ended_at or 0) >= self.lost_there(invite, loss)
            ):
                kind, payload = self.outcome(invite)
                self.tell(kind, [peer], [user], payload)

    def set_caller(self, invite: Invite, peer: str) -> None:
        """The peer that spoke last of the call, or the peer id under which its device has come back since."""
        back = self.whoever_is(invite.sender, peer)
        invite.caller = peer
        if back is not None and back.peer != peer and back.at > invite.latest:
            invite.caller, invite.heard = back.peer, max(invite.heard, back.at)
        self.check_caller(invite, invite.latest)
        if invite.request:
            self.refusals.pop(invite.ref, None)
            self.requests[invite.ref] = invite.caller, invite.deadline + self.kept()

    def device_speaks(self, event: Payload, entry: Id, *, calls: bool = False) -> None:
        """A device that names itself is notified of the calls that it made before as other peers.

        It is remembered as the device of its peer, if it has calls or makes one.
        """
        peer, user, device = event["peer"]["id"], event["peer"]["user"], event["peer"].get("device")
        if device is None:
            return
        lost = self.presence.lost_at(user, peer)
        if not lost or lost < entry:
            self.hear_missed(user, peer, device)
        mine = [
            invite
            for invite in (self.pending() if not lost or lost < entry else ())
            if invite.sender == user and not invite.is_leg and invite.caller != peer
            if self.presence.marked_device(user, invite.caller) == device
        ]
        moved = [invite for invite in mine if invite.heard < entry]
        stays = {invite.caller for invite in mine if invite.heard > entry}
        for invite in moved:
            if invite.caller not in stays:
                self.timers.pop(f"caller|{user}|{invite.caller}", None)
            invite.caller, invite.heard = peer, self.heard(user, event.get("to", user), entry)
            if invite.ref in self.requests:
                self.requests[invite.ref] = peer, self.requests[invite.ref][1]
        if calls or moved:
            self.presence.say(user, peer, device, self.now)

    def now_in_call(self, invite: Invite, user: str | None, peer: str) -> None:
        """The invite is accepted, by `peer` of `user`: see `busy.py`."""

    def peer_lost(self, user: str, peer: str) -> None:
        """A peer is lost: see `busy.py`."""

    def device_moved(self, user: str, peer: str, device: str | None) -> None:
        """The device is connected as this peer: see `busy.py`."""

    def choose(self, _invite: Invite, devices: list[Candidate]) -> list[Candidate]:
        """Those that ring a callee who may be in a call: see `busy.py`."""
        return devices

    def whoever_is(self, user: str, peer: str) -> Registration | None:
        """The registration of this peer, or of the peer id that its device has now."""
        device = self.presence.last_device(user, peer)
        same = [each for each in self.presence.of(user) if device is not None and each.device == device]
        return self.presence.get(user, peer) or next(iter(same), None)


def reason_of(code: int) -> str:
    """How a device's own refusal is called."""
    return "busy" if code == 486 else "declined"


def why(best: Candidate) -> str:
    """The reason that goes with the best response."""
    code = best.end_reason or 480
    if best.state != "GONE" or code == 486:
        return reason_of(code)
    return {408: "timeout", 487: "cancelled", 500: "internal"}.get(code, "unreachable")


def rank(each: Candidate) -> tuple[bool, int, bool, bool, bool, int]:
    """Least for the best response: the class; a device's answer before a loss; busy before other codes."""
    code = each.end_reason or 480
    return code < 600, code // 100, each.state == "GONE", each.state == "REJECTED", code != 486, code
