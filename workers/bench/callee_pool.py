"""Who is called in the trials."""

from __future__ import annotations

from collections import deque
from itertools import count

from workers.bench.settled import EntryId, entry_id
from workers.bench.target import Target
from workers.bench.trials import ONCE_ONLY, registrations


class CalleePool:
    """Users with registered devices: those who take one call after the other, and those who take a single one."""

    def __init__(self, target: Target, regulars: int, newcomers: int) -> None:
        self._target = target
        self._names = (f"user-{number}" for number in count())
        self._regulars: deque[str] = deque()
        self._newcomers: deque[str] = deque()
        self._coming: deque[tuple[EntryId, str, deque[str]]] = deque()
        self._wanted = newcomers
        self._register(self._regulars, regulars)

    def settled(self, up_to: EntryId) -> None:
        """The workers are so far: whoever is registered by then can be called. Further newcomers are registered."""
        while self._coming and self._coming[0][0] <= up_to:
            _, user, ready = self._coming.popleft()
            ready.append(user)
        wanted, self._wanted = self._wanted, 0
        self._register(self._newcomers, wanted)

    def take(self, opponent: str) -> str | None:
        """Somebody for a trial; None when nobody is free."""
        if opponent not in ONCE_ONLY:
            return self._regulars.popleft() if self._regulars else None
        if not self._newcomers:
            return None
        self._wanted += 1
        return self._newcomers.popleft()

    def release(self, user: str, opponent: str) -> None:
        """The trial is over."""
        if opponent not in ONCE_ONLY:
            self._regulars.append(user)

    def _register(self, ready: deque[str], users: int) -> None:
        names = [next(self._names) for _ in range(users)]
        entries = self._target.publish(event for name in names for event in registrations(name))
        if entries:
            last = entry_id(entries[-1])
            self._coming.extend((last, name, ready) for name in names)
