"""A short memory for groups, bounded in time and number."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from invites.sippo.answers import Group

_MOST: Final = 1_000  # groups; what was asked for longest ago goes first


class GroupCache:
    """Remembers for `lifetime` s what was found of a group, also that there is none. 0 s remembers nothing."""

    def __init__(self, lifetime: float, clock: Callable[[], float], most: int = _MOST) -> None:
        self._lifetime = lifetime
        self._clock = clock
        self._most = most
        self._known: OrderedDict[str, tuple[float, Group | None]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def get(self, group: str) -> tuple[Group | None] | None:
        """What is remembered, in a tuple, since "there is no such group" is remembered too; None for nothing."""
        until, found = self._known.get(group, (0.0, None))
        if group not in self._known:
            return None
        if self._clock() >= until:
            del self._known[group]
            return None
        return (found,)

    def put(self, group: str, found: Group | None) -> None:
        """Remember what was found."""
        if self._lifetime <= 0:
            return
        self._known.pop(group, None)
        self._known[group] = (self._clock() + self._lifetime, found)
        while len(self._known) > self._most:
            self._known.popitem(last=False)
