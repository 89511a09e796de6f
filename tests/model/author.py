"""Random histories: few users, devices, calls and rooms, so that everything meets everything."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import TypeVar

import msgspec
from hypothesis import strategies as st

from invites.lookup.result import LookupResult, Member
from invites.store.settings import Settings, WhenBusy

from .driver import START
from .histories import Advance, AdvanceToDue, Fire, History, Knows, Publish, Pushed, Repeat, Settle, Step
from .state import HOUR, Payload

T = TypeVar("T")

DEVICES: dict[str, tuple[str, str | None]] = {
    "b1": ("bob", "phone"),
    "b2": ("bob", "phone"),
    "b3": ("bob", "tablet"),
    "b4": ("bob", None),
    "a1": ("alice", "desk"),
    "a2": ("alice", "desk"),
    "a3": ("alice", None),
    "c1": ("carol", None),
    "x1": ("team", None),
    "t1": ("sip", None),
    "t2": ("sip", "gateway"),
    "t3": ("sip", "gateway"),
    "t4": ("tel", None),
    "u1": ("tel", None),
}
PEER_IDS = {"u1": "t1"}
"""Trunks of two users may have one peer id."""
TAKERS = {"b1": "carol", "b3": "alice", "c1": "bob", "a2": "dave"}
"""Who registers a peer id that another user has."""
UNREGISTERED = {"b4": "watch", "c1": "c-phone"}
HARDWARE = ("phone", "tablet", "gateway", "watch")
"""Devices as which any peer may register: peers that belong to other hardware than before, or users who share it."""
ANSWERS = frozenset({"ringing", "accept", "decline", "silence", "getInvitations"})
CONFIRM = {"t2", "t4"}
TRUNKS = {"t1": "*", "t2": "bob|0.*", "t3": "bob|0.*", "t4": "*", "u1": "bob"}
OF = {
    user: tuple(name for name, (owner, _) in DEVICES.items() if owner == user) for user, _ in DEVICES.values()
}
LENGTH = 40
CALL_IDS = ("i1", "i2")
ROOMS = ("r1", "r2")
SESSIONS = ("s1", "s2")
TEXTS = ("one", {"two": [1, {}]}, ["audio", "video"])
CODES = (486, 480, 603, 500, 404, 600)
FAILURES = (503, 503, 408, 480, 500)
BEGINNINGS = (
    (),
    ("b1", "b3"),
    ("b1", "b3", "a1"),
    ("b1", "b3", "t1"),
    ("b3", "t2", "a1"),
    ("b1", "b4", "c1"),
    ("b1", "t1", "t2", "t4"),
    ("b3", "u1", "t1", "t4", "a1"),
)
ASLEEP = {"bob": ("phone", "watch", "b1"), "alice": ("desk",), "carol": ("c-phone",), "dave": ("d-phone",)}
MEMBERS = ("bob", "carol", "alice", "dave", "007", "bob", "team")
ANSWER = ("bob", "bob", "bob", "carol", "carol", "carol", *MEMBERS)
CALLEES = ("bob", "bob", "bob", "bob", "alice", "carol", "007", "sip", "nobody")
WHEN_BUSY: tuple[WhenBusy, ...] = ("ring", "waiting", "reject")
CROWDS = (("b1", "b3", "c1"), ("b1", "c1", "t1"), ("b4", "c1", "b3", "a1", "t2"))
AHEAD = (2_000, 4_999, 5_001, 60_000, HOUR)
PAUSES = (1, 500, 4_000, 11_000, 130_000, 310_000, HOUR + 1)


@dataclass(frozen=True)
class Call:
    """What the author has published, so that later events are mostly about it."""

    peer: str
    invite_id: str
    to: str
    room: str | None

    @property
    def sender(self) -> str:
        return DEVICES[self.peer][0]


def peer(name: str) -> Payload:
    return {"id": PEER_IDS.get(name, name), "user": DEVICES[name][0]}


def naming(kind: str, speaker: Payload, registered: str | None) -> Payload:
    """The peer, with its device. An answer may name a push device that its registration does not."""
    name = speaker["id"]
    if speaker["user"] != DEVICES[name][0]:
        return speaker
    device = registered or (UNREGISTERED.get(name) if kind in ANSWERS else None)
    return speaker | ({} if device is None else {"device": device})


class Author:
    """Writes one step after the other, all of it decided by `random`."""

    def __init__(self, random: Random, *, to_group: bool, ahead: bool = False) -> None:
        """`to_group`: most calls go to the group. `ahead`: some ids are ahead of the server's time."""
        self.ahead = ahead
        self.random = random
        self.callees = CALLEES + ("team",) * (25 if to_group else 2)
        self.one = random.choice
        self.calls: list[Call] = []
        self.devices: list[str] = []
        self.hardware: dict[str, str] = {}
        self.published = 0

    def often(self, percent: int) -> bool:
        """True that often."""
        return self.random.randrange(100) < percent

    def fields(self, percent: int, **optional: Sequence[object]) -> Payload:
        """Each of these fields that often."""
        return {name: self.one(values) for name, values in optional.items() if not self.often(100 - percent)}

    def call(self) -> Call:
        """Mostly one of the latest calls."""
        if self.calls and self.often(90):
            return self.one(self.calls[-4:])
        return Call(
            self.one(tuple(DEVICES)), self.one(CALL_IDS), self.one(("bob", "alice", "007")), self.one(ROOMS)
        )

    def device_of(self, user: str) -> str:
        """Mostly one that has registered; now and then anybody's."""
        there = [name for name in self.devices if DEVICES[name][0] == user] or OF.get(user, OF["sip"])
        return self.one(there if self.often(80) else OF.get(user, ()) + tuple(DEVICES))

    def publish(self, kind: str, payload: Payload) -> Publish:
        self.published += 1
        if kind == "joined" and (chance := zlib.crc32(f"{self.published} {payload}".encode())) % 3:
            names = OF[payload["userId"]]
            payload = payload | {"peer": peer(names[chance % len(names)])}
        if "peer" in payload and zlib.crc32(f"{self.published} {kind} {payload}".encode()) % 5 < 2:
            name = payload["peer"]["id"]
            payload = payload | {
                "peer": naming(kind, payload["peer"], self.hardware.get(name, DEVICES[name][1]))
            }
        if kind == "invite" and payload["to"] == "team" and self.published % 3 == 0:
            payload = payload | {"ringMode": "all" if self.published % 9 else "sequential"}
        if kind == "invite" and self.published % 4 == 1 and self.calls:
            other = self.calls[-1 - self.published % min(3, len(self.calls))]
            payload = payload | {"replaces": f"{other.sender}|{other.invite_id}|{other.to}"}
        if kind == "invite" and self.published % 17 == 5:
            payload = payload | {"probe": True}
        if kind in {"accept", "decline"} and self.published % 2:
            payload = payload | {"context": TEXTS[self.published % len(TEXTS)]}
        if kind == "accept" and payload["peer"]["user"] in {"sip", "tel"} and self.published % 3:
            payload = payload | {"confirmed": True}
        ahead = self.one(AHEAD) if self.ahead and self.often(5) else 0
        return Publish(kind, payload, settle=self.often(80), ahead=ahead)

    # -- calls

    def invite(self) -> Publish:
        kind = "invite" if self.often(85) else "inviteRequest"
        to = self.one(self.callees)
        call = Call(
            self.one(("a1", "a1", "a1", "a2", "a3", "c1", "c1", "b1", "t1")),
            self.one(CALL_IDS),
            to,
            self.one(ROOMS) if kind == "invite" else None,
        )
        return self.invite_of(kind, call)

    def invite_of(self, kind: str, call: Call, **more: object) -> Publish:
        self.calls.append(call)
        payload = {
            "peer": peer(call.peer),
            "to": call.to,
            "inviteId": call.invite_id,
            **self.fields(20, context=TEXTS, mediatypes=TEXTS, fromDetails=TEXTS, transaction=("x", 7)),
            **self.fields(10, expires=(20_000, 1, 500_000)),
            **more,
        }
        return self.publish(kind, payload | ({"room": call.room} if kind == "invite" else {}))

    def repeat(self) -> Publish:
        call = self.call()
        name = call.peer if self.often(70) else self.one(OF[call.sender])
        return self.invite_of(
            "inviteRequest" if call.room is None else "invite", Call(name, call.invite_id, call.to, call.room)
        )

    def invite_back(self) -> Publish:
        """Answers a request for an invite."""
        asked = next((each for each in reversed(self.calls) if each.room is None), self.call())
        name = self.device_of(asked.to)
        call = Call(name, self.one(CALL_IDS), asked.sender, self.one(ROOMS))
        return self.invite_of("invite", call, requestId=asked.invite_id)

    def come_back(self) -> Publish:
        """A phone leg returns from the network."""
        call = self.call()
        payload: Payload = {
            "peer": peer(self.one(("t1", "t2")) if self.often(95) else self.one(tuple(DEVICES))),
            "to": call.to if self.often(95) else self.one(self.callees),
            "inviteId": self.one(CALL_IDS),
            "room": self.one(ROOMS),
            "returnOf": f"{call.sender}|{call.invite_id}|{call.to}",
            **self.fields(20, transaction=("x", 7)),
        }
        return self.publish("invite", payload)

    def about(self) -> Payload:
        """A peer that answers, and its call; in a group a member, which may name either."""
        call = self.call()
        to = self.one(ANSWER) if call.to == "team" else call.to
        trunk = not self.often(85) or to not in OF
        name = self.one(OF["sip"] + OF["tel"]) if trunk else self.device_of(to)
        payload: Payload = {"peer": peer(name), "from": call.sender, "inviteId": call.invite_id}
        if DEVICES[name][0] != to:
            payload["to"] = to
        elif call.to == "team" and self.often(50):
            payload["to"] = "team"
        return payload

    def ringing(self) -> Publish:
        return self.publish("ringing", self.about())

    def accept(self) -> Publish:
        return self.publish("accept", self.about() | self.fields(20, transaction=("x", 7)))

    def silence(self) -> Publish:
        return self.publish("silence", self.about() | self.fields(20, transaction=("x", 7)))

    def decline(self) -> Publish:
        given = self.fields(20, transaction=("x", 7)) | self.fields(75, errorCode=CODES)
        about = self.about()
        if about["peer"]["user"] in {"sip", "tel"} and self.often(60):
            given["errorCode"] = self.one(FAILURES)
        if not self.often(90):
            about["peer"] = peer(self.device_of(about["from"]))
            about["to"] = self.call().to
        return self.publish("decline", about | given)

    def stop(self) -> Publish:
        call = self.call()
        callee = self.one(MEMBERS) if call.to == "team" and self.often(40) else call.to
        payload: Payload = {"inviteId": call.invite_id, "callee": callee, **self.fields(20, errorCode=CODES)}
        match self.one((0, 0, 1, 2, 3)):
            case 0:
                payload |= {"peer": peer(call.peer)} | self.fields(30, transaction=("x", 7))
            case 1:
                payload["from"] = call.sender
            case 2:
                payload |= {"from": call.sender, "peer": peer(self.one(tuple(DEVICES)))}
        return self.publish("stopInvite", payload)

    def question(self) -> Publish:
        return self.publish("getInvitations", {"peer": peer(self.one(tuple(DEVICES))), "transaction": "q"})

    # -- devices

    def registered(self) -> Publish:
        return self.registration(
            self.one(tuple(DEVICES)), **self.fields(35, session=SESSIONS, expires=(5_000, 30_000))
        )

    def registration(self, name: str, **more: object) -> Publish:
        self.devices.append(name)
        user, device = DEVICES[name]
        if self.published % 13 == 7:
            user = TAKERS.get(name, user)
        registry: Payload = {"id": PEER_IDS.get(name, name), "user": user, **more}
        device = self.hardware.get(name, device)
        chance = zlib.crc32(f"{self.published} {registry}".encode())
        if chance % 9 == 0:
            device = HARDWARE[chance // 9 % len(HARDWARE)]
            self.hardware[name] = device
        if device is not None:
            registry["device"] = device
        if name in TRUNKS:
            registry |= {"trunk": True, "type": "PSTN", "match": TRUNKS[name], "confirm": name in CONFIRM}
        return self.publish("registered", {"registry": registry})

    def gone(self) -> Publish:
        there = tuple(self.devices)[-4:] or ("b1",)
        name = self.one(there if self.often(80) else tuple(DEVICES))
        return self.publish(
            self.one(("disconnected", "unregistered")),
            {"peer": peer(name), **self.fields(25, session=SESSIONS)},
        )

    def back(self) -> Publish:
        """One that was there before."""
        name = self.one(tuple(self.devices)[-4:] or ("b1",))
        return self.registration(name, **self.fields(25, session=SESSIONS))

    # -- rooms

    def room(self) -> Publish:
        call = self.call()
        kind = self.one(("left", "joined", "joined", "roomClosed"))
        payload: Payload = {"roomId": call.room or "r1"}
        if kind != "roomClosed":
            payload["userId"] = self.one((call.sender, "bob", "alice"))
        return self.publish(kind, payload)

    # -- users' wishes

    def wish(self) -> Publish:
        """Mostly for a while, so that calls ring again."""
        until = (START + 1, START + 20_000, START + 300_000)
        return self.publish(
            "userState",
            {
                "userId": self.one(("bob", "carol", "alice", "007", "team")),
                **self.fields(50, dnd=(True, True, False)),
                **self.fields(70, until=until),
                **self.fields(20, block=(["alice"], ["carol", "sip"], [])),
            },
        )

    # -- sippo-server's data

    def some(self, ids: Sequence[str], percent: int) -> tuple[str, ...]:
        """Each of these that often."""
        return tuple(each for each in ids if self.often(percent))

    def knows(self) -> Knows:
        """Of a user, or of the group; as the Reachability service would, which knows peers and numbers as well."""
        return self.knows_of(self.one(("bob", "team", "carol", "nobody")))

    def knows_of(self, user: str) -> Knows:
        if not self.often(90):
            return Knows(user, LookupResult(failed=True))
        if user != "team":
            phone = "007" if self.often(20) else ""
            devices = self.some(ASLEEP.get(user, ()), 70)
            return Knows(user, LookupResult(known=True, push=devices, peers=self.peers(user), phone=phone))
        members = [self.member(each) for each in MEMBERS if self.often(70)]
        self.random.shuffle(members)
        return Knows(user, LookupResult(known=True, members=members, sequential=self.often(50)))

    def peers(self, user: str) -> tuple[str, ...]:
        return self.some((*OF.get(user, ()), f"{user}-far"), 20)

    def member(self, user: str) -> Member:
        return Member(
            user,
            push=self.some(ASLEEP.get(user, ()), 50),
            peers=self.peers(user),
            phone=user == "007" and self.often(50),
            failed=not self.often(90),
        )

    def pushed(self) -> Pushed:
        became = self.one(("pushTaken", "pushTaken", "pushTaken", "pushGone", "pushUnsure", "pushDropped"))
        return Pushed(self.random.randrange(8), became)

    # -- workers and time

    def settle(self) -> Settle:
        picks = tuple(self.random.randrange(8) for _ in range(1 + self.random.randrange(4)))
        return Settle(picks, look_up_only=not self.often(70), doubled=not self.often(80))

    def again(self) -> Repeat:
        return Repeat(self.random.randrange(8))

    def pause(self) -> Step:
        if self.often(50):
            return AdvanceToDue(self.one((0, 0, -1, 1)))
        return Advance(self.one(PAUSES[:4] if self.often(70) else PAUSES))

    def fire(self) -> Fire:
        return Fire()

    def step(self) -> Step:
        choices: dict[Callable[[], Step], int] = {
            self.invite: 14,
            self.repeat: 5,
            self.ringing: 8,
            self.accept: 9,
            self.decline: 9,
            self.stop: 4,
            self.registered: 8,
            self.back: 6,
            self.gone: 9,
            self.settle: 8,
            self.again: 2,
            self.pause: 8,
            self.fire: 6,
            self.room: 4,
            self.come_back: 4,
            self.invite_back: 4,
            self.question: 2,
            self.knows: 3,
            self.pushed: 6,
            self.wish: 2,
            self.silence: 4,
        }
        return self.one([choice for choice, weight in choices.items() for _ in range(weight)])()


def history(random: Random) -> History:
    """First some registrations, then anything."""
    settings = Settings(
        remove_after=random.choice((10_000, 0)),
        caller_grace=random.choice((10_000, 10_000, 2 * HOUR)),
        retain_after=random.choice((300_000, 300_000, 0, 1, 2 * HOUR)),
        parallel_sip=random.choice((False, False, True)),
        only_one_device_with_invitations=random.choice((True, False)),
        max_group_size=random.choice((500, 500, 500, 3)),
        look_up=random.choice(("", "push", "groups", "all", "all", "reachability")),
    )
    settings = msgspec.structs.replace(settings, push_after=(3_000 if settings.remove_after else -1))
    to_group = settings.look_up in {"groups", "all", "reachability"} and random.choice((True, False))
    author = Author(random, to_group=to_group, ahead=random.choice((True, False, False, False)))
    known = ("team", "bob", "carol") if settings.look_up else ()
    steps: list[Step] = [author.knows_of(user) for user in known]
    steps += [author.registration(name) for name in random.choice(CROWDS if to_group else BEGINNINGS)]
    steps += [author.step() for _ in range(LENGTH)]
    chance = zlib.crc32(repr(steps).encode())
    settings = msgspec.structs.replace(
        settings,
        redial=random.choice(("replace", "replace", "ring")),
        glare=random.choice(("merge", "off")),
        join_accepts=chance % 8 > 0,
        room_grace=(0, 0, 5_000, 2 * HOUR)[chance // 8 % 4],
        when_busy=WHEN_BUSY[chance // 32 % 3],
        track_busy=chance // 96 % 4 == 0,
        devices_per_user=(100, 100, 2, 1)[chance // 384 % 4],
    )
    return History(settings, tuple(steps))


def histories() -> st.SearchStrategy[History]:
    """New ones, of which hypothesis makes every choice."""
    return st.randoms(use_true_random=False).map(history)
