"""The calls at the edge: callers, phones and gateways when things do not go as planned."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workers.lab.demo.calls import (
    FAILS,
    RINGS,
    SIPPO_SERVER,
    TALKS,
    WITHIN_MS,
    Call,
    Hears,
    registration,
    rejected,
    stops,
)
from workers.lab.demo.devices import Device
from workers.lab.demo.reaching import NUMBER
from workers.lab.demo.renderer import Cell
from workers.lab.demo.scenes import GRACE_MS

if TYPE_CHECKING:
    from workers.lab.demo.calls import Cast
    from workers.lab.demo.scenes import Scene


async def redialled(cast: Cast, number: int) -> None:
    """Alice's app has crashed and calls again: one call keeps ringing, not two."""
    await cast.renderer.scene(number, "Alice's app restarts in the middle, and she calls again")
    first, again = Call(cast, number, cast.phone.user), Call(cast, number, cast.phone.user, "again")
    await first.begins(cast.bobs)
    progress = Hears(cast.alice, "inviteProgress", Cell("calls again", RINGS, acts=True), {"code": 100})
    rings_on = (
        Hears(one, "invitation", Cell("keeps ringing", RINGS), {"replaces": first.ref}) for one in cast.bobs
    )
    await again.happens("invite", cast.alice, "calls again", again.invitation(), (progress, *rings_on))
    await first.heard(
        [*stops(cast.bobs, "", code=487, reason="replaced"), rejected(cast.alice, "", 487, "replaced")],
        WITHIN_MS,
    )
    await first.ends("DECLINED_BY_CREATOR", 487, cast.bobs)
    await again.accepted(cast.desk, losers=(cast.phone, cast.tablet))
    await again.ends("ACCEPTED", 200, cast.bobs)


async def joined_by_link(cast: Cast, number: int) -> None:
    """Bob opens the link to the room on his computer while his devices ring: that is an answer."""
    desk = cast.desk
    await cast.renderer.scene(number, "Bob joins the room by a link, and his phones stop")
    call = Call(cast, number, desk.user)
    await call.begins(cast.bobs)
    taken = Hears(cast.alice, "inviteAccepted", Cell("talks", TALKS), {"code": 200, "peer": desk.peer})
    elsewhere = {"code": 200, "reason": "accepted_elsewhere", "peer": desk.peer}
    room = {"roomId": f"room-{number}"}
    await call.happens(
        "joined",
        desk,
        "joins",
        {"userId": desk.user, "peer": desk.identity, **room},
        (taken, *stops((cast.phone, cast.tablet), "elsewhere", **elsewhere)),
    )
    await call.ends("ACCEPTED", 200, cast.bobs)
    await cast.gateway.publish("roomClosed", room)


async def pushed_when_lost(cast: Cast, number: int) -> None:
    """A phone loses its network while it rings. A push reaches it, and it keeps ringing."""
    alice, phone = cast.alice, cast.sleeper
    await cast.renderer.scene(
        number,
        "Frank's phone loses its network, and a push reaches it",
        [alice.name, SIPPO_SERVER, phone.name],
    )
    call = Call(cast, number, phone.user)
    await call.begins([phone])
    await cast.gateway.publish("disconnected", {"peer": phone.identity, "session": phone.session})
    cast.gateway.detach(phone)
    await cast.renderer.row("disconnected", {phone.name: Cell("is away", FAILS, acts=True)}, None)
    with cast.renderer.waiting("the phone may come back by itself"):
        await call.pushed(phone, GRACE_MS + WITHIN_MS)
    await call.heard([Hears(alice, "inviteProgress", Cell(""), {"code": 110})], WITHIN_MS)
    phone.peer, phone.session = f"{phone.peer}-again", f"{phone.session}-again"
    cast.gateway.attach(phone)
    resumed = Hears(phone, "invitation", Cell("keeps ringing", RINGS, acts=True), {"resumed": True})
    await call.happens("registered", phone, "is back", {"registry": registration(phone)}, (resumed,))
    await call.accepted(phone)
    await call.ends("ACCEPTED", 200, [phone])


async def answered_asleep(cast: Cast, number: int) -> None:
    """A push wakes a phone whose owner answers before it is registered. It wins, and no push stops it."""
    alice, phone = cast.alice, cast.sleeper
    await cast.renderer.scene(
        number, "Frank answers before his woken phone is registered", [alice.name, SIPPO_SERVER, phone.name]
    )
    await cast.gateway.publish("unregistered", {"peer": phone.identity, "session": phone.session})
    call = Call(cast, number, phone.user)
    await call.wakes(phone)
    answer = Hears(phone, "answer", Cell("answers", TALKS, acts=True), {"code": 200})
    taken = Hears(alice, "inviteAccepted", Cell("talks", TALKS), {"code": 200, "peer": phone.peer})
    said = call.reply(phone) | {"peer": {**phone.identity, "device": phone.hardware}}
    await call.happens("accept", phone, "answers", said, (answer, taken))
    await call.ends("ACCEPTED", 200, [phone])


async def next_gateway(cast: Cast, number: int) -> None:
    """The first gateway to the phone network fails, and the next one rings. Alice does not notice."""
    alice, trunk = cast.alice, cast.trunk
    other = Device("2nd trunk", "pstn", "pstn-2", "pstn-2", "1")
    await cast.renderer.scene(
        number, f"A gateway to {NUMBER} fails, and the next one rings", [alice.name, trunk.name, other.name]
    )
    cast.gateway.attach(other)
    leads = {"type": "PSTN", "trunk": True, "match": "*"}
    await cast.gateway.publish("registered", {"registry": registration(other, **leads)})
    call = Call(cast, number, NUMBER)
    await call.begins([trunk])
    fails = Hears(trunk, "answer", Cell("fails", FAILS, acts=True), {"code": 200})
    rings = Hears(other, "invitation", Cell("rings", RINGS), {"number": NUMBER})
    await call.happens("decline", trunk, "fails", call.reply(trunk) | {"errorCode": 503}, (fails, rings))
    await call.accepted(other, who=NUMBER)
    await call.ends("ACCEPTED", 200, [trunk, other])
    await cast.gateway.publish("unregistered", {"peer": other.identity})


SCENES: tuple[Scene, ...] = (redialled, joined_by_link, pushed_when_lost, answered_asleep, next_gateway)
