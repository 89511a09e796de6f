"""The user of each peer id: the last one that registered it, even a while after the registration has ended."""

from __future__ import annotations

from .state import Id


class Holders:
    """Peer id -> user, the entry of the registration, and when that is forgotten (ms; None while it lasts)."""

    def __init__(self, kept: int) -> None:
        self.kept = kept
        self.known: dict[str, tuple[str, Id, int | None]] = {}

    def since(self, peer: str, user: str) -> tuple[str, Id] | None:
        """Another user that has the peer id, and since when."""
        holder, at, _ = self.known.get(peer, (user, (0, 0, 0), None))
        return None if holder == user else (holder, at)

    def claim(self, peer: str, user: str, at: Id) -> None:
        self.known[peer] = user, at, None

    def release(self, peer: str, user: str, now: int) -> None:
        holder, at, _ = self.known.get(peer, ("", (0, 0, 0), None))
        if holder == user:
            self.known[peer] = user, at, now + self.kept

    def forget(self, now: int) -> None:
        self.known = {peer: each for peer, each in self.known.items() if each[2] is None or each[2] > now}
