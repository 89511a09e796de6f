"""The five calls of the play: a scene publishes what devices do and insists on what the others must hear."""

from __future__ import annotations

import statistics
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from workers.demo.devices import Device, Gateway, MissingError, Notification, Sent
from workers.demo.stage import Cell, Stage

WITHIN_MS = 3000  # whatever takes longer is missing; on an idle machine it takes 2 ms
GRACE_MS = 5000
_RING_MS = 1500
_CONTEXT = {"subject": "Lunch?"}

_RINGS, _TALKS, _STOPS, _FAILS = "yellow", "green", "dim", "red"


@dataclass(frozen=True, slots=True)
class Hears:
    """A device must be told `kind` with these payload fields; the ladder then shows `cell`."""

    device: Device
    kind: str
    cell: Cell
    fields: Mapping[str, object]


@dataclass(eq=False, slots=True)
class Cast:
    """Who plays: Alice, who calls, and Bob's three devices."""

    gateway: Gateway
    stage: Stage
    alice: Device
    phone: Device
    tablet: Device
    desk: Device
    services: Device
    took_ms: list[float] = field(default_factory=list)
    late_ms: float = 0.0
    states: list[str] = field(default_factory=list)

    @property
    def bobs(self) -> tuple[Device, ...]:
        """Bob's devices."""
        return self.phone, self.tablet, self.desk

    @property
    def columns(self) -> tuple[str, ...]:
        """The ladder's columns."""
        return tuple(device.name for device in (self.alice, *self.bobs))


Scene = Callable[[Cast, int], Awaitable[None]]


async def answered(cast: Cast, number: int) -> None:
    """Three devices ring; the phone accepts, the others hear that it was answered elsewhere."""
    await cast.stage.scene(number, 'Bob answers on his phone, the others hear "accepted elsewhere"')
    call = await _Call.begin(cast, number)
    await call.rings(cast.phone)
    await call.accepted(cast.phone, losers=(cast.tablet, cast.desk))
    await call.ends("ACCEPTED", 200)


async def declined(cast: Cast, number: int) -> None:
    """A decline speaks for the whole user: all devices stop."""
    await cast.stage.scene(number, "Bob declines on his tablet")
    call = await _Call.begin(cast, number)
    await call.rings(cast.tablet)
    stops = _stops((cast.phone, cast.desk), "stops", code=603, reason="declined_elsewhere")
    await call.happens(
        "decline",
        cast.tablet,
        "declines",
        call.about(cast.tablet, **{"from": cast.alice.user}),
        (
            Hears(cast.tablet, "answer", Cell("declines", _FAILS, acts=True), {"code": 200}),
            *stops,
            _rejected(cast.alice, "declined", 603, "declined"),
        ),
    )
    await call.ends("DECLINED", 603)


async def cancelled(cast: Cast, number: int) -> None:
    """The caller hangs up while it rings."""
    await cast.stage.scene(number, "Alice hangs up before anybody answers")
    call = await _Call.begin(cast, number)
    await call.rings(cast.desk)
    await call.happens(
        "stopInvite",
        cast.alice,
        "hangs up",
        call.about(cast.alice, callee=cast.phone.user),
        (
            Hears(cast.alice, "answer", Cell("hangs up", _FAILS, acts=True), {"code": 200}),
            _rejected(cast.alice, "hangs up", 487, "cancelled", acts=True),
            *_stops(cast.bobs, "missed call", code=487, reason="cancelled"),
        ),
    )
    await call.ends("DECLINED_BY_CREATOR", 487)


async def reconnected(cast: Cast, number: int) -> None:
    """A device that comes back within its grace goes on ringing, and may still win."""
    phone = cast.phone
    await cast.stage.scene(number, "Bob's phone loses its network and comes back")
    call = await _Call.begin(cast, number)
    await cast.gateway.publish("disconnected", {"peer": phone.identity, "session": phone.session})
    cast.gateway.detach(phone)
    await cast.stage.row("disconnected", {phone.name: Cell("is away", _FAILS, acts=True)}, None)
    phone.peer, phone.session = f"{phone.peer}-again", f"{phone.session}-again"
    cast.gateway.attach(phone)
    resumed = Hears(phone, "invitation", Cell("rings on", _RINGS, acts=True), {"resumed": True})
    await call.happens("registered", phone, "is back", {"registry": registration(phone)}, (resumed,))
    await call.accepted(phone, losers=(cast.tablet, cast.desk))
    await call.ends("ACCEPTED", 200)


async def timed_out(cast: Cast, number: int) -> None:
    """Nobody answers: when the ring time is over all devices stop, without any event."""
    await cast.stage.scene(number, f"Nobody answers (the call asked for {_RING_MS:,} ms)")
    call = await _Call.begin(cast, number, expires=_RING_MS)
    hears = (
        *_stops(cast.bobs, "missed call", code=408, reason="timeout"),
        _rejected(cast.alice, "no answer", 408, "timeout"),
    )
    with cast.stage.waiting("ringing"):
        heard = await call.heard(hears, WITHIN_MS + _RING_MS)
    late_ms = max(note.wall_ms for note in heard) - (call.sent.entry_ms + _RING_MS)
    cast.late_ms = late_ms
    await cast.stage.row("ring time over", {h.device.name: h.cell for h in hears}, late_ms)
    await call.ends("DECLINED_BY_TIMEOUT", 408)


SCENES: tuple[Scene, ...] = (answered, declined, cancelled, reconnected, timed_out)


def registration(device: Device) -> dict[str, str]:
    """The `registry` of a device's `registered` event."""
    return {"id": device.peer, "user": device.user, "device": device.hardware, "session": device.session}


def summary(cast: Cast) -> str:
    """What the calls came to, in one sentence."""
    took = sorted(cast.took_ms)
    counts = ", ".join(f"{cast.states.count(state)} {state}" for state in dict.fromkeys(cast.states))
    return (
        f"{len(cast.states)} calls, {cast.gateway.published} events: {counts}. "
        f"All who had to hear of an event had read it after {statistics.median(took):.1f} ms (median), "
        f"{took[-1]:.1f} ms at the latest. The ring time ended {cast.late_ms:.1f} ms late."
    )


class _Call:
    """One call from Alice to Bob while it is played."""

    def __init__(self, cast: Cast, number: int) -> None:
        self._cast = cast
        self._invite_id = f"call-{number}"
        self.sent = Sent("", 0.0)

    @classmethod
    async def begin(cls, cast: Cast, number: int, **options: object) -> _Call:
        """Alice invites, Bob's three devices ring."""
        call = cls(cast, number)
        alice = cast.alice
        progress = {"code": 100, "candidates": len(cast.bobs)}
        room = {"room": f"room-{number}", "context": _CONTEXT, **options}
        await call.happens(
            "invite",
            alice,
            "calls",
            call.about(alice, to=cast.phone.user, **room),
            (
                Hears(alice, "inviteProgress", Cell("calls", "yellow", acts=True), progress),
                *(Hears(d, "invitation", Cell("rings", _RINGS), {"resumed": False}) for d in cast.bobs),
            ),
        )
        return call

    async def rings(self, device: Device) -> None:
        """A device says that it rings; Alice hears the ringing tone."""
        told = Hears(self._cast.alice, "inviteProgress", Cell("hears ringing", _RINGS), {"code": 180})
        payload = self.about(device, **{"from": self._cast.alice.user})
        await self.happens("ringing", device, "says so", payload, (told,))

    async def accepted(self, winner: Device, losers: Sequence[Device]) -> None:
        """A device accepts; it and Alice talk, the others stop."""
        alice, bob = self._cast.alice, winner.user
        elsewhere = {"code": 200, "reason": "accepted_elsewhere", "whoAccepted": bob}
        told = {"code": 200, "whoAccepted": bob, "peer": winner.peer}
        await self.happens(
            "accept",
            winner,
            "answers",
            self.about(winner, **{"from": alice.user}),
            (
                Hears(winner, "answer", Cell("answers", _TALKS, acts=True), {"code": 200}),
                Hears(alice, "inviteAccepted", Cell("talks", _TALKS), told),
                *_stops(losers, "elsewhere", **elsewhere),
            ),
        )

    async def happens(
        self, event: str, actor: Device, does: str, payload: dict[str, object], hears: Sequence[Hears]
    ) -> None:
        """Publish an event, wait for what everybody must hear of it, and show the row."""
        self.sent = await self._cast.gateway.publish(event, payload)
        heard = await self.heard(hears, WITHIN_MS)
        took_ms = (max(note.at for note in heard) - self.sent.at) * 1000
        self._cast.took_ms.append(took_ms)
        cells = {actor.name: Cell(does, "bold", acts=True)} | {h.device.name: h.cell for h in hears}
        await self._cast.stage.row(event, cells, took_ms)

    def about(self, actor: Device, **fields: object) -> dict[str, object]:
        """The payload of an event of this call."""
        return {"peer": actor.identity, "inviteId": self._invite_id, **fields}

    async def heard(self, hears: Sequence[Hears], within_ms: int) -> list[Notification]:
        """Wait until every device has been told what it must hear."""
        return [
            await each.device.expect(each.kind, within_ms, inviteId=self._invite_id, **each.fields)
            for each in hears
        ]

    async def ends(self, state: str, error: int) -> None:
        """Check the call record, and that nobody was told more of this call than that."""
        cast = self._cast
        record = await cast.services.expect(
            "INVITE_COMPLETED", WITHIN_MS, inviteId=self._invite_id, state=state, error=error
        )
        cast.states.append(state)
        for device in (cast.alice, *cast.bobs, cast.services):
            extra = [note.type for note in device.inbox if note.payload.get("inviteId") == self._invite_id]
            if extra:
                raise MissingError(f"{device.name}: nobody expected {', '.join(extra)} of {self._invite_id}.")
            # A device that comes back is told of the earlier calls' end once more.
            device.inbox.clear()
        reasons = {each["peer"]: each["endReason"] for each in record.payload["candidates"]}
        ends = ", ".join(f"{device.name} {reasons.get(device.peer)}" for device in cast.bobs)
        cast.stage.line(f"call record: {state} {error} · {ends}", "dim")


def _stops(devices: Sequence[Device], text: str, **fields: object) -> tuple[Hears, ...]:
    return tuple(Hears(device, "invitationCancel", Cell(text, _STOPS), fields) for device in devices)


def _rejected(alice: Device, text: str, code: int, reason: str, *, acts: bool = False) -> Hears:
    return Hears(alice, "inviteRejected", Cell(text, _FAILS, acts=acts), {"code": code, "reason": reason})
