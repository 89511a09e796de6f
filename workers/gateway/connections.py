"""The devices that are connected here, by peer and by user."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from invites.client import Notification, Peer
    from workers.gateway.connection import Connection


class Connections:
    """The connections of a gateway."""

    def __init__(self) -> None:
        self._by_peer: dict[str, Connection] = {}
        self._by_user: dict[str, set[Connection]] = {}

    def __len__(self) -> int:
        """How many there are."""
        return len(self._by_peer)

    def all(self) -> list[Connection]:
        """All of them."""
        return list(self._by_peer.values())

    def enter(self, connection: Connection) -> Connection | None:
        """Add a connection. Returns the one that it replaces: that of the same peer."""
        former = self._by_peer.get(connection.peer.id)
        if former is not None:
            self.leave(former)
        self._by_peer[connection.peer.id] = connection
        self._by_user.setdefault(connection.peer.user, set()).add(connection)
        return former

    def has_room(self, peer: Peer, most: int) -> bool:
        """Whether the peer's user has fewer than `most` connections. One that the peer replaces does not count."""
        others = len(self._by_user.get(peer.user, ())) - (peer.id in self._by_peer)
        return others < most

    def leave(self, connection: Connection) -> None:
        """Remove a connection, unless another one has replaced it."""
        if self._by_peer.get(connection.peer.id) is connection:
            del self._by_peer[connection.peer.id]
            of_user = self._by_user[connection.peer.user]
            of_user.remove(connection)
            if not of_user:
                del self._by_user[connection.peer.user]

    def addressed_by(self, notification: Notification) -> list[Connection]:
        """The receivers: the peers that it names or, if it names none, all devices of its users."""
        if notification.peers:
            return [self._by_peer[peer] for peer in notification.peers if peer in self._by_peer]
        return [one for user in notification.users for one in self._by_user.get(user, ())]
