"""The users that the trials call."""

from __future__ import annotations

from collections import deque
from itertools import count

from workers.lab.bench.settled import EntryId, entry_id
from workers.lab.bench.target import Target
from workers.lab.bench.trials import ONCE_ONLY, registrations


class CalleePool:
    """Users with registered devices: regulars take one call after the other, newcomers take one call each."""

    def __init__(self, target: Target, regulars: int, newcomers: int) -> None:
        self._target = target
        self._names = (f"user-{number}" for number in count())
        self._regulars: deque[str] = deque()
        self._newcomers: deque[str] = deque()
        self._coming: deque[tuple[EntryId, str, deque[str]]] = deque()
        self._wanted = newcomers
        self._register(self._regulars, regulars)

    def settled(self, up_to: EntryId) -> None:
        """Free the users whose registrations are settled, and register the newcomers that are wanted."""
        while self._coming and self._coming[0][0] <= up_to:
            _, user, ready = self._coming.popleft()
            ready.append(user)
        wanted, self._wanted = self._wanted, 0
        self._register(self._newcomers, wanted)

    def take(self, opponent: str) -> str | None:
        """A user for a trial; None if no user is free."""
        if opponent not in ONCE_ONLY:
            return self._regulars.popleft() if self._regulars else None
        if not self._newcomers:
            return None
        self._wanted += 1
        return self._newcomers.popleft()

    def release(self, user: str, opponent: str) -> None:
        """Return the user of a trial that is over."""
        if opponent not in ONCE_ONLY:
            self._regulars.append(user)

    def _register(self, ready: deque[str], users: int) -> None:
        names = [next(self._names) for _ in range(users)]
        entries = self._target.publish(event for name in names for event in registrations(name))
        if entries:
            last = entry_id(entries[-1])
            self._coming.extend((last, name, ready) for name in names)
