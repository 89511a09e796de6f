"""The calls between registered devices. A scene publishes events and checks the notifications of all devices."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from workers.lab.demo.calls import FAILS, RINGS, WITHIN_MS, Call, Cast, Hears, registration, rejected, stops
from workers.lab.demo.renderer import Cell

GRACE_MS = 2000
_RING_MS = 1500

Scene = Callable[[Cast, int], Awaitable[None]]


async def answered(cast: Cast, number: int) -> None:
    """Three devices ring. The phone accepts, and the others hear that it was answered elsewhere."""
    await cast.renderer.scene(number, 'Bob answers on his phone, the others hear "accepted elsewhere"')
    call = await _begin(cast, number)
    await call.rings(cast.phone)
    await call.accepted(cast.phone, losers=(cast.tablet, cast.desk))
    await call.ends("ACCEPTED", 200, cast.bobs)


async def declined(cast: Cast, number: int) -> None:
    """A decline counts for the user: all devices stop."""
    await cast.renderer.scene(number, "Bob declines on his tablet")
    call = await _begin(cast, number)
    await call.rings(cast.tablet)
    others = stops((cast.phone, cast.desk), "stops", code=603, reason="declined_elsewhere")
    await call.happens(
        "decline",
        cast.tablet,
        "declines",
        call.reply(cast.tablet),
        (
            Hears(cast.tablet, "answer", Cell("declines", FAILS, acts=True), {"code": 200}),
            *others,
            rejected(cast.alice, "declined", 603, "declined"),
        ),
    )
    await call.ends("DECLINED", 603, cast.bobs)


async def cancelled(cast: Cast, number: int) -> None:
    """The caller hangs up while it rings."""
    await cast.renderer.scene(number, "Alice hangs up before anybody answers")
    call = await _begin(cast, number)
    await call.rings(cast.desk)
    await call.happens(
        "stopInvite",
        cast.alice,
        "hangs up",
        call.about(cast.alice, callee=cast.phone.user),
        (
            Hears(cast.alice, "answer", Cell("hangs up", FAILS, acts=True), {"code": 200}),
            rejected(cast.alice, "hangs up", 487, "cancelled", acts=True),
            *stops(cast.bobs, "missed call", code=487, reason="cancelled"),
        ),
    )
    await call.ends("DECLINED_BY_CREATOR", 487, cast.bobs, missed=True)


async def reconnected(cast: Cast, number: int) -> None:
    """A device that returns within its grace continues to ring and may still win."""
    phone = cast.phone
    await cast.renderer.scene(number, "Bob's phone loses its network and comes back")
    call = await _begin(cast, number)
    await cast.gateway.publish("disconnected", {"peer": phone.identity, "session": phone.session})
    cast.gateway.detach(phone)
    await cast.renderer.row("disconnected", {phone.name: Cell("is away", FAILS, acts=True)}, None)
    phone.peer, phone.session = f"{phone.peer}-again", f"{phone.session}-again"
    cast.gateway.attach(phone)
    resumed = Hears(phone, "invitation", Cell("keeps ringing", RINGS, acts=True), {"resumed": True})
    await call.happens("registered", phone, "is back", {"registry": registration(phone)}, (resumed,))
    await call.accepted(phone, losers=(cast.tablet, cast.desk))
    await call.ends("ACCEPTED", 200, cast.bobs)


async def timed_out(cast: Cast, number: int) -> None:
    """Nobody answers. When the ring time is over, all devices stop without an event."""
    await cast.renderer.scene(number, f"Nobody answers (the call asked for {_RING_MS:,} ms)")
    call = await _begin(cast, number, expires=_RING_MS)
    hears = (
        *stops(cast.bobs, "missed call", code=408, reason="timeout"),
        rejected(cast.alice, "no answer", 408, "timeout"),
    )
    with cast.renderer.waiting("ringing"):
        heard = await call.heard(hears, WITHIN_MS + _RING_MS)
    late_ms = max(note.wall_ms for note in heard) - (call.sent.entry_ms + _RING_MS)
    cast.late_ms = late_ms
    await cast.renderer.row("ring time over", {h.device.name: h.cell for h in hears}, late_ms)
    await call.ends("DECLINED_BY_TIMEOUT", 408, cast.bobs, missed=True)


async def _begin(cast: Cast, number: int, **options: object) -> Call:
    """Alice invites and Bob's three devices ring."""
    call = Call(cast, number, cast.phone.user)
    await call.begins(cast.bobs, **options)
    return call


SCENES: tuple[Scene, ...] = (answered, declined, cancelled, reconnected, timed_out)
