"""The state of the model: calls, their candidates, rooms. Times are ms since 1970."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from invites.lookup.result import Member

MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
TOLERANCE = 5_000
"""How far ids may be ahead of the server's time, since clocks differ."""
IN = frozenset({"CALLED", "RINGING", "AWAY", "PUSHING", "PUSHED"})
"""A candidate in one of these states may still be the one that accepts: the call is not over."""
RUNG = frozenset({"CALLED", "RINGING", "AWAY", "PUSHED"})
"""Devices that must be told when the call is over: over their connection, or by a push if one was taken."""
ONLINE = frozenset({"CALLED", "RINGING"})

Payload = dict[str, Any]
Id = tuple[int, int, int]
"""An entry id (ms, sequence); the third number puts a lapse right after the registration that lapsed."""


def order(entry_id: str) -> Id:
    """`"1700000000000-3"` as something that sorts."""
    ms, _, sequence = entry_id.partition("-")
    return int(ms), int(sequence or 0), 0


@dataclass(frozen=True)
class Notification:
    """One entry of the notifications stream, without its id."""

    type: str
    peers: tuple[str, ...]
    users: tuple[str, ...]
    payload: Payload

    def canonical(self) -> str:
        """The same text for the same meaning: recipients and candidates are sets."""
        payload = dict(self.payload)
        for key in ("candidates", "invitations"):
            if isinstance(payload.get(key), list):
                payload[key] = sorted(json.dumps(item, sort_keys=True) for item in payload[key])
        whole = {
            "type": self.type,
            "peers": sorted(self.peers),
            "users": sorted(self.users),
            "payload": payload,
        }
        return json.dumps(whole, sort_keys=True)


def said(context: Any) -> Payload:
    """The context of an answer for the inviter."""
    return {} if context is None else {"context": context}


@dataclass
class Candidate:
    """One way of reaching the callee. `told`: was told of the end again after it came back.

    `silenced`: no invitation reaches it any more. `followed`: a trunk that failed, after which something else rings.
    `confirm`: one whose accept must be confirmed. `push`: sippo-server has listed the device for push. `unheard`: it
    has had no invitation over a connection. `also`: it was pushed in addition to its connection: PUSHING, then PUSHED.
    `declined`: the peer that declined for itself alone. `missed`: it was away at the end. `told_at`: when it,
    connected, was told that its user is busy. `rejected`: it has declined after that. `taken`: sippo-server has taken a
    push to it.
    """

    peer: str
    user: str
    address: str
    type: str
    state: str
    device: str | None = None
    session: str | None = None
    end_reason: int | None = None
    told: bool = False
    context: Any = None
    silenced: bool = False
    followed: bool = False
    confirm: bool = False
    push: bool = False
    unheard: bool = False
    also: str = ""
    declined: str = ""
    missed: bool = False
    told_at: int | None = None
    rejected: bool = False
    taken: bool = False

    def sleeps(self, state: str) -> None:
        """Nothing is known of a connection of this device."""
        self.device = self.device or self.peer
        self.peer, self.type, self.session, self.also = self.device, "PUSH", None, ""
        self.state, self.end_reason = state, None

    def phone(self) -> Candidate:
        """The device, to be pushed in addition to its connection."""
        device = self.device or self.peer
        return Candidate(device, self.user, self.address, "PUSH", self.state, device)

    @property
    def to_stop(self) -> list[Candidate]:
        """Who must be told that it is over: over the connection, or by a push."""
        is_rung = self.state in RUNG | {"PUSHING"}
        is_rung = is_rung and not (self.unheard and self.state in {"PUSHING", "AWAY"})
        return [self] * is_rung + [self.phone()] * (self.also == "PUSHED" and self.state in IN)

    @property
    def left_connection(self) -> bool:
        """Has declined for its connection alone."""
        return self.state == "DECLINED" and self.end_reason in {480, 503} and not self.rejected

    @property
    def key(self) -> str:
        """Among the candidates of an invite: a device that sleeps has no peer id, though its id may be one."""
        return f"|{self.device}" if self.type == "PUSH" else self.peer

    def same_device(self, peer: str, device: str | None) -> bool:
        """Whether `peer` with `device` is this hardware: the same device, else the same peer id."""
        if self.type == "PUSH" and self.peer == self.device:
            return self.device == (device or peer)
        return self.peer == peer or (device is not None and self.device == device)


@dataclass
class Leg:
    """A member of a group call, as the group's invite sees it: WAITING, RINGING or OVER; `found` by a lookup."""

    found: Member
    state: str = "WAITING"
    end_reason: int | None = None
    reason: str | None = None
    peer: str | None = None
    context: Any = None
    device: str | None = None

    def vote(self) -> Candidate:
        """The leg, as one way of reaching the group."""
        said = self.reason in {"declined", "busy"}
        return Candidate(
            "",
            "",
            "",
            "LEG",
            "DECLINED" if said else "GONE",
            end_reason=self.end_reason,
            context=self.context,
        )


@dataclass
class Invite:
    """One call.

    `parallel`: went to the phone network first; `waiting`: and nowhere else yet; `asked`: rings this peer alone;
    `second`: its callee is in another call. The `group` of a group call is its `to`; that of a leg is not.
    `progressed`, `taken`: 180 was told, a push was taken.
    `heard`: since when the call is its caller's, in the order of the inviter's shard. `entered`: its place in the order
    of the room's shard.
    `everybody`: each member may accept; `legs_end`: how the others ended once one had. `device`: what the inviter
    has named; `overtaken`: by a later call of the same device; `into`: merged into this call. `trunks`: users and
    peers of those that may follow one that fails.
    """

    sender: str
    invite_id: str
    to: str
    room: str | None
    request: bool
    caller: str
    entry: Id
    latest: Id
    heard: Id
    entered: Id
    mediatypes: Any
    from_details: Any
    context: Any
    request_id: str | None
    started_at: int
    deadline: int
    candidates: dict[str, Candidate] = field(default_factory=dict)
    state: str = "PENDING"
    code: int | None = None
    reason: str | None = None
    ended_at: int | None = None
    who: str | None = None
    winner: str | None = None
    answer: Any = None
    progressed: bool = False
    taken: bool = False
    group: str | None = None
    legs: dict[str, Leg] = field(default_factory=dict)
    sequential: bool = False
    everybody: bool = False
    legs_end: tuple[str, int, str] | None = None
    starting: bool = False
    parallel: bool = False
    waiting: bool = False
    asked: bool = False
    second: bool = False
    device: str | None = None
    replaces: str | None = None
    overtaken: bool = False
    probe: bool = False
    into: str | None = None
    leg: tuple[str, str] | None = None
    trunks: list[tuple[str, str]] = field(default_factory=list)

    @property
    def ref(self) -> str:
        return f"{self.sender}|{self.invite_id}|{self.to}"

    @property
    def pending(self) -> bool:
        return self.state == "PENDING"

    @property
    def is_group(self) -> bool:
        return self.group == self.to

    @property
    def is_leg(self) -> bool:
        return self.group is not None and not self.is_group

    @property
    def group_ref(self) -> str:
        """The group call that a leg belongs to."""
        return f"{self.sender}|{self.invite_id}|{self.group}"

    def of(self, *states: str) -> list[Leg]:
        """The legs in these states."""
        return [each for each in self.legs.values() if each.state in states]

    def inside(self) -> list[Candidate]:
        """Candidates that may still accept."""
        return [each for each in self.candidates.values() if each.state in IN]

    def put(self, *candidates: Candidate) -> None:
        self.candidates.update({each.key: each for each in candidates})

    def remove(self, candidate: Candidate) -> None:
        self.candidates = {key: each for key, each in self.candidates.items() if each is not candidate}

    def pushed(self, device: str) -> Candidate | None:
        """The candidate of a device that was pushed, whether it sleeps or has connected."""
        there = [each for each in self.candidates.values() if (each.device or each.peer) == device]
        return self.candidates.get(f"|{device}") or next(iter(there), None)

    def find(self, peer: str, user: str, device: str | None) -> Candidate | None:
        """The candidate that is this hardware of this user."""
        mine = [each for each in self.candidates.values() if each.user == user]
        exact = [each for each in mine if each.peer == peer and each.same_device(peer, device)]
        exact.sort(key=lambda each: each.type == "PUSH")
        return next(iter(exact + [each for each in mine if each.same_device(peer, device)]), None)

    def is_of_other_user(self, user: str, peer: str) -> bool:
        """Whether another user has a candidate with this peer id: a trunk may."""
        found = self.candidates.get(peer)
        return found is not None and found.user != user

    def identity(self) -> Payload:
        return {"inviteId": self.invite_id, "from": self.sender, "to": self.to}

    def view(self) -> Payload:
        """The item for a device that asks what rings."""
        return {
            **self.identity(),
            "group": self.group,
            "room": self.room,
            "state": self.state,
            "inviteRequest": self.request,
            "mediatypes": self.mediatypes,
            "context": self.context,
            "startedAt": self.started_at,
            "expiresAt": self.deadline,
        }

    def record(self) -> Payload:
        """The call record."""
        return {
            **self.identity(),
            "room": self.room,
            "group": self.group is not None,
            "inviteRequest": self.request,
            "mediatypes": self.mediatypes,
            "state": self.state,
            "error": self.code,
            "whoAccepted": self.who,
            **({"into": self.into} if self.into else {}),
            "startedAt": self.started_at,
            "endedAt": self.ended_at,
            "candidates": [
                {"address": each.address, "peer": each.peer, "endReason": each.end_reason}
                | said(each.context)
                for each in self.candidates.values()
            ]
            + [
                {
                    "address": user,
                    "peer": leg.peer,
                    "endReason": leg.end_reason
                    or (408 if 408 in (self.code, *(self.legs_end or ())) else 487),
                }
                | said(leg.context)
                for user, leg in self.legs.items()
            ],
        }


@dataclass
class Loss:
    """The device that has made a call is lost: since which entry, and until when it may come back."""

    user: str
    peer: str
    at: Id
    till: int


@dataclass
class Tombstone:
    """A stop that came before its invite."""

    code: int
    until: int
    reason: str = "cancelled"


@dataclass
class Room:
    """`left` and `closed`: entry ids, and when to forget them. `peers`: the peer as which each member joined."""

    members: dict[str, Id] = field(default_factory=dict)
    peers: dict[str, Payload] = field(default_factory=dict)
    left: dict[str, tuple[Id, int]] = field(default_factory=dict)
    closed: tuple[Id, int] | None = None
