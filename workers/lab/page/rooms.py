"""The rooms' server: it says who is in which room, as the conference server of a platform does."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from invites.client import Joined, Left, RoomClosed
from workers.lab.page.people import NETWORK

if TYPE_CHECKING:
    from invites.client import Peer, Publisher
    from workers.lab.page.feed import Feed

_AWAY_S: Final = 15.0  # how long a connection may be lost until its user has left


class Rooms:
    """The rooms and the connections in them."""

    def __init__(self, publisher: Publisher, feed: Feed) -> None:
        self._publisher = publisher
        self._feed = feed
        self._rooms: dict[str, dict[str, Peer]] = {}
        self._leaving: dict[str, asyncio.Task[None]] = {}
        self._tell()

    async def join(self, room: str, peer: Peer) -> None:
        """Somebody enters a room. Raises redis exceptions."""
        self._rooms.setdefault(room, {})[peer.id] = peer
        self._tell()
        await self._publisher.publish(Joined(user_id=peer.user, room_id=room, peer=peer))

    async def leave(self, room: str, peer_id: str) -> None:
        """Somebody leaves a room. The last one closes it. Raises redis exceptions."""
        members = self._rooms.get(room, {})
        peer = members.pop(peer_id, None)
        if peer is None:
            return
        if not members:
            del self._rooms[room]
        self._tell()
        if all(other.user != peer.user for other in members.values()):
            await self._publisher.publish(Left(user_id=peer.user, room_id=room))
        if not members:
            await self._publisher.publish(RoomClosed(room_id=room))
        elif set(members) == {NETWORK.id}:  # nobody is left to talk to at the telephone
            await self.leave(room, NETWORK.id)

    def lost(self, peer_id: str) -> None:
        """A connection is lost. A user who does not come back in time has left."""
        if peer_id not in self._leaving and any(peer_id in members for members in self._rooms.values()):
            self._leaving[peer_id] = asyncio.create_task(self._leave_later(peer_id))

    def back(self, peer_id: str) -> None:
        """A connection has come back."""
        leaving = self._leaving.pop(peer_id, None)
        if leaving is not None:
            leaving.cancel()

    async def aclose(self) -> None:
        """Stop waiting."""
        for leaving in self._leaving.values():
            leaving.cancel()
        await asyncio.gather(*self._leaving.values(), return_exceptions=True)

    async def _leave_later(self, peer_id: str) -> None:
        await asyncio.sleep(_AWAY_S)
        self._leaving.pop(peer_id)
        for room in [room for room, members in self._rooms.items() if peer_id in members]:
            await self.leave(room, peer_id)

    def _tell(self) -> None:
        self._feed.set(
            "rooms",
            {
                room: [
                    {"peer": peer.id, "user": peer.user, "device": peer.device} for peer in members.values()
                ]
                for room, members in self._rooms.items()
            },
        )
