"""The devices of the demo, and one call between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from workers.lab.demo.devices import Device, Gateway, MissingError, Notification, Sent
from workers.lab.demo.renderer import Cell, Renderer
from workers.lab.fake_sippo import FakeSippo

SIPPO_SERVER = "sippo-server"
WITHIN_MS = 3000  # later notifications count as missing; on an idle machine they take 2 ms
RINGS, TALKS, STOPS, FAILS = "yellow", "green", "dim", "red"
_CONTEXT = {"subject": "Lunch?"}


@dataclass(frozen=True, slots=True)
class Hears:
    """A notification that a device must get, with these payload fields; the ladder then shows `cell`."""

    device: Device
    kind: str
    cell: Cell
    fields: Mapping[str, object]


@dataclass(eq=False, slots=True)
class Cast:
    """Everything in the demo: Alice, Bob's three devices, a group, a sleeping phone, a trunk, sippo-server."""

    gateway: Gateway
    renderer: Renderer
    fake_sippo: FakeSippo
    alice: Device
    phone: Device
    tablet: Device
    desk: Device
    members: tuple[Device, ...]
    sleeper: Device
    trunk: Device
    services: Device
    took_ms: list[float] = field(default_factory=list)
    late_ms: float = 0.0
    states: list[str] = field(default_factory=list)

    @property
    def bobs(self) -> tuple[Device, ...]:
        """Bob's devices."""
        return self.phone, self.tablet, self.desk

    @property
    def present(self) -> tuple[Device, ...]:
        """All devices that are registered from the beginning."""
        return (self.alice, *self.bobs, *self.members, self.trunk)


def registration(device: Device, **more: object) -> dict[str, object]:
    """The `registry` of a device's `registered` event."""
    known = {"id": device.peer, "user": device.user, "device": device.hardware, "session": device.session}
    return {**known, **more}


class Call:
    """One call from Alice to the user, group or number `to`."""

    def __init__(self, cast: Cast, number: int, to: str, suffix: str = "") -> None:
        self._cast = cast
        self._number = number
        self._invite_id = f"call-{number}{suffix}"
        self._to = to
        self._pushes_before = list(cast.fake_sippo.pushes)
        self.sent = Sent("", 0.0)

    @property
    def ref(self) -> str:
        """The three ids of its invite."""
        return f"{self._cast.alice.user}|{self._invite_id}|{self._to}"

    async def begins(self, devices: Sequence[Device], **options: object) -> None:
        """Alice invites and these devices ring."""
        alice = self._cast.alice
        progress = {"code": 100, "candidates": len(devices)}
        await self.happens(
            "invite",
            alice,
            "calls",
            self.invitation(**options),
            (
                Hears(alice, "inviteProgress", Cell("calls", "yellow", acts=True), progress),
                *(Hears(d, "invitation", Cell("rings", RINGS), {"resumed": False}) for d in devices),
            ),
        )

    async def wakes(self, device: Device) -> None:
        """Alice invites, the device gets a push, and Alice is notified."""
        cast, alice = self._cast, self._cast.alice
        self.sent = await cast.gateway.publish("invite", self.invitation())
        heard = await self.heard(
            [Hears(alice, "inviteProgress", Cell(""), {"code": code}) for code in (100, 110)], WITHIN_MS
        )
        took_ms = (max(note.at for note in heard) - self.sent.at) * 1000
        cast.took_ms.append(took_ms)
        calls, takes = Cell("calls", "bold", acts=True), Cell("takes a push", RINGS)
        await cast.renderer.row("invite", {alice.name: calls, SIPPO_SERVER: takes}, took_ms)
        await self.pushed(device, WITHIN_MS)

    async def pushed(self, device: Device, within_ms: int) -> None:
        """sippo-server pushes to the device, and Alice is notified."""
        cast = self._cast
        before = sum(
            push.job.device == device.hardware and push.job.type == "invitation"
            for push in self._pushes_before
        )
        try:
            push = await cast.fake_sippo.pushed(device.hardware, nth=before + 1, within_ms=within_ms)
        except TimeoutError:
            raise MissingError(
                f"sippo-server: a push to {device.hardware} did not come within {within_ms} ms."
            ) from None
        wakes = {
            SIPPO_SERVER: Cell("wakes it", "bold", acts=True),
            device.name: Cell("wakes up", RINGS),
            cast.alice.name: Cell("hears of it", RINGS),
        }
        await cast.renderer.row(f"push, ttl {push.job.ttl} s", wakes, None)

    async def rings(self, device: Device) -> None:
        """A device reports that it rings, and Alice hears the ringing tone."""
        told = Hears(self._cast.alice, "inviteProgress", Cell("hears ringing", RINGS), {"code": 180})
        await self.happens("ringing", device, "says so", self.reply(device), (told,))

    async def accepted(self, winner: Device, losers: Sequence[Device] = (), who: str = "") -> None:
        """A device accepts: it talks to Alice, the others stop. `who` accepted, by default the device's user."""
        alice, who = self._cast.alice, who or winner.user
        elsewhere = {"code": 200, "reason": "accepted_elsewhere", "whoAccepted": who}
        told = {"code": 200, "whoAccepted": who, "peer": winner.peer}
        await self.happens(
            "accept",
            winner,
            "answers",
            self.reply(winner),
            (
                Hears(winner, "answer", Cell("answers", TALKS, acts=True), {"code": 200}),
                Hears(alice, "inviteAccepted", Cell("talks", TALKS), told),
                *stops(losers, "elsewhere", **elsewhere),
            ),
        )

    async def happens(
        self, event: str, actor: Device, does: str, payload: dict[str, object], hears: Sequence[Hears]
    ) -> None:
        """Publish an event, wait for all its notifications, and show the row."""
        self.sent = await self._cast.gateway.publish(event, payload)
        heard = await self.heard(hears, WITHIN_MS)
        took_ms = (max(note.at for note in heard) - self.sent.at) * 1000
        self._cast.took_ms.append(took_ms)
        cells = {actor.name: Cell(does, "bold", acts=True)} | {h.device.name: h.cell for h in hears}
        await self._cast.renderer.row(event, cells, took_ms)

    def about(self, actor: Device, **fields: object) -> dict[str, object]:
        """The payload of an event of this call."""
        return {"peer": actor.identity, "inviteId": self._invite_id, **fields}

    def reply(self, actor: Device) -> dict[str, object]:
        """The payload of a device's reply to this call."""
        return self.about(actor, to=self._to, **{"from": self._cast.alice.user})

    def invitation(self, **options: object) -> dict[str, object]:
        """The payload of Alice's invite."""
        room = {"room": f"room-{self._number}", "context": _CONTEXT, **options}
        return self.about(self._cast.alice, to=self._to, **room)

    async def heard(self, hears: Sequence[Hears], within_ms: int) -> list[Notification]:
        """Wait until every device has its notification."""
        return [
            await each.device.expect(each.kind, within_ms, inviteId=self._invite_id, **each.fields)
            for each in hears
        ]

    async def ends(self, state: str, error: int, devices: Sequence[Device], *, missed: bool = False) -> None:
        """Check the call record, whether the call is `missed`, and that no other notification of it came."""
        cast = self._cast
        record = await cast.services.expect(
            "INVITE_COMPLETED", WITHIN_MS, inviteId=self._invite_id, state=state, error=error
        )
        if missed:
            await cast.services.expect("callMissed", WITHIN_MS, inviteId=self._invite_id, code=error)
        cast.states.append(state)
        for device in (cast.alice, *devices, cast.services):
            extra = [note.type for note in device.inbox if note.payload.get("inviteId") == self._invite_id]
            if extra:
                raise MissingError(f"{device.name}: nobody expected {', '.join(extra)} of {self._invite_id}.")
            # A device that returns gets the cancels of its earlier calls once more.
            device.inbox.clear()
        # A group's record lists members, and only some of them with the device that decided.
        reasons: dict[Any, int] = {}
        for each in record.payload["candidates"]:
            reasons |= {each["address"]: each["endReason"], each["peer"]: each["endReason"]}
        ends = ", ".join(
            f"{device.name} {reasons.get(device.peer, reasons.get(device.user))}" for device in devices
        )
        cast.renderer.line(f"call record: {state} {error} · {ends}", "dim")


def stops(devices: Sequence[Device], text: str, **fields: object) -> tuple[Hears, ...]:
    """The devices get a cancel with these fields."""
    return tuple(Hears(device, "invitationCancel", Cell(text, STOPS), fields) for device in devices)


def rejected(alice: Device, text: str, code: int, reason: str, *, acts: bool = False) -> Hears:
    """Alice gets the outcome: the call is over."""
    return Hears(alice, "inviteRejected", Cell(text, FAILS, acts=acts), {"code": code, "reason": reason})
