"""Disturbs the same streams: unusable and large entries, a gateway that never reads, a clock that steps."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

from tests.support.malformed import malformed

if TYPE_CHECKING:
    from tests.chaos.gateway import Post

GROUP: Final = "abandoned"
_POISONED: Final = 5  # entries at a time
_LARGE: Final = 512 * 1024  # bytes of a payload, which may have 64 KiB
_STEP_MS: Final = 1_000
_CHANCE: Final = 1 / 3


class Nuisance:
    """Does a little of each when called. `poisoned` counts the entries that must become dead letters."""

    def __init__(self, post: Post, seed: int) -> None:
        self.poisoned = 0
        self._post = post
        self._random = random.Random(seed)
        self._unusable = malformed()

    async def disturb(self) -> None:
        """Publish some unusable entries, and a large one."""
        for each in self._random.sample(self._unusable, _POISONED):
            await self._poison(each.type, each.payload)
        await self._poison(b"invite", b'{"context":"' + b"x" * _LARGE + b'"}')

    async def step_clock(self) -> float:
        """Now and then, step a clock back; returns for how long (s) entry ids are ahead.

        With several shards each would then have a clock of its own, and the order of events would be unknown.
        """
        if self._post.shards == 1 and self._random.random() < _CHANCE:
            await self._post.step_back(_STEP_MS)
            return _STEP_MS / 1000
        return 0.0

    async def faults(self) -> list[str]:
        """The faults at the end, in words."""
        dead = await self._post.dead_letters()
        if len(dead) == self.poisoned:
            return []
        return [f"{self.poisoned} unusable entries, {len(dead)} dead letters: {sorted(dead)}"]

    async def _poison(self, kind: bytes, payload: bytes) -> None:
        if await self._post.add({b"type": kind, b"payload": payload}):
            self.poisoned += 1
