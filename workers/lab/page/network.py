"""The phone network: a gateway to it, and the telephone that the page answers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec

from invites.client import Accept, Decline, Registered, Ringing
from invites.events.fields import Id
from workers.lab.page.people import NETWORK, trunk

if TYPE_CHECKING:
    from invites.client import Publisher
    from workers.lab.page.rooms import Rooms
    from workers.lab.page.streams import Message


class _Call(msgspec.Struct, rename="camel"):
    from_: Id = msgspec.field(name="from")
    invite_id: Id
    to: Id


class PickUp(_Call, tag_field="action", tag="accept"):
    """Somebody answers."""


class Refuse(_Call, tag_field="action", tag="decline"):
    """Somebody does not want to talk."""


class HangUp(msgspec.Struct, tag_field="action", tag="hangUp"):
    """Somebody ends the call in this room."""

    room: Id


Move = PickUp | Refuse | HangUp
"""What somebody does at the telephone."""


class Network:
    """The gateway to the phone network."""

    def __init__(self, publisher: Publisher, rooms: Rooms) -> None:
        self._publisher = publisher
        self._rooms = rooms
        self._ringing: dict[str, str] = {}
        self._tasks: set[asyncio.Task[Any]] = set()

    async def start(self) -> None:
        """Register the gateway. Raises redis exceptions."""
        await self._publisher.publish(Registered(registry=trunk()))

    def hear(self, message: Message) -> None:
        """A notification for the gateway: the telephone rings, or its accept has won."""
        payload = message["payload"] or {}
        ref = "|".join(str(payload.get(name)) for name in ("from", "inviteId", "to"))
        if message["type"] == "invitation":
            self._ringing[ref] = payload.get("room") or ""
            call = msgspec.convert(payload, _Call)
            self._do(self._publisher.publish(Ringing(peer=NETWORK, **_call_of(call))))
        elif message["type"] == "invitationCancel":
            self._ringing.pop(ref, None)
        elif message["type"] == "answer" and payload.get("request") == "accept":
            room = self._ringing.pop(ref, "")
            if room and payload.get("code") == 200:  # noqa: PLR2004 - won
                self._do(self._rooms.join(room, NETWORK))

    async def move(self, move: Move) -> None:
        """Somebody uses the telephone. Raises redis exceptions."""
        match move:
            case PickUp():
                await self._publisher.publish(Accept(peer=NETWORK, **_call_of(move)))
            case Refuse():
                await self._publisher.publish(Decline(peer=NETWORK, error_code=603, **_call_of(move)))
            case HangUp():
                await self._rooms.leave(move.room, NETWORK.id)

    async def aclose(self) -> None:
        """End what it has begun."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _do(self, work: Any) -> None:  # noqa: ANN401 - a coroutine
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _call_of(call: _Call) -> dict[str, Any]:
    return {"from_": call.from_, "invite_id": call.invite_id, "to": call.to}
