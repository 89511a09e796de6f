"""A limit on concurrent work that lets the newest go first."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class NewestFirst:
    """A semaphore that gives a free place to the newest waiter. Equally new ones go in turn."""

    def __init__(self, count: int) -> None:
        self._free = count
        self._waiting: list[tuple[int, int, int, asyncio.Future[None]]] = []
        # An entry that comes again may meet its earlier turn, and two futures cannot be compared.
        self._order = itertools.count()

    @contextlib.asynccontextmanager
    async def hold(self, made: tuple[int, int]) -> AsyncIterator[None]:
        """Hold a place while the block runs. A larger `made` is newer."""
        if self._free:
            self._free -= 1
        else:
            await self._turn(made)
        try:
            yield
        finally:
            self._pass_on()

    async def _turn(self, made: tuple[int, int]) -> None:
        turn = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (-made[0], -made[1], next(self._order), turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # the place has come together with the cancellation
                self._pass_on()
            raise

    def _pass_on(self) -> None:
        while self._waiting:
            *_, turn = heapq.heappop(self._waiting)
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
