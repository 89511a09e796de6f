"""The calls that need sippo-server or the phone network: to a group, a sleeping phone, a number."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workers.lab.demo.calls import FAILS, RINGS, SIPPO_SERVER, Call, Hears, registration
from workers.lab.demo.renderer import Cell

if TYPE_CHECKING:
    from workers.lab.demo.calls import Cast
    from workers.lab.demo.scenes import Scene

GROUP = "sales"
NUMBER = "+34600123456"


async def group_called(cast: Cast, number: int) -> None:
    """All members ring. One declines, which no other hears. The first to accept has the call."""
    carol, dave, erin = cast.members
    columns = [device.name for device in (cast.alice, *cast.members)]
    await cast.renderer.scene(
        number, f"Alice calls the group {GROUP}, and Carol is the first to answer", columns
    )
    call = Call(cast, number, GROUP)
    await call.begins(cast.members)
    declines = Hears(dave, "answer", Cell("declines", FAILS, acts=True), {"code": 200})
    await call.happens("decline", dave, "declines", call.reply(dave), (declines,))
    await call.accepted(carol, losers=(erin,))
    await call.ends("ACCEPTED", 200, cast.members)


async def woken(cast: Cast, number: int) -> None:
    """A push wakes a phone that is not connected. It connects and rings for the rest of the ring time."""
    alice, phone = cast.alice, cast.sleeper
    await cast.renderer.scene(
        number, "Frank's phone sleeps, and a push wakes it", [alice.name, SIPPO_SERVER, phone.name]
    )
    call = Call(cast, number, phone.user)
    await call.wakes(phone)
    cast.gateway.attach(phone)
    rings = Hears(phone, "invitation", Cell("rings", RINGS, acts=True), {"resumed": False})
    await call.happens("registered", phone, "is here", {"registry": registration(phone)}, (rings,))
    await call.rings(phone)
    await call.accepted(phone)
    await call.ends("ACCEPTED", 200, [phone])


async def phoned(cast: Cast, number: int) -> None:
    """A number that no device has registered is called through the trunk that matches it."""
    alice, trunk = cast.alice, cast.trunk
    await cast.renderer.scene(number, f"Alice calls {NUMBER} on the phone network", [alice.name, trunk.name])
    call = Call(cast, number, NUMBER)
    await call.begins([trunk])
    await call.rings(trunk)
    await call.accepted(trunk, who=NUMBER)
    await call.ends("ACCEPTED", 200, [trunk])


SCENES: tuple[Scene, ...] = (group_called, woken, phoned)
