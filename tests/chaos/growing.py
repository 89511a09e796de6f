"""Adds shards while calls are played: workers stop by themselves, the command is killed half-way, calls continue."""

from __future__ import annotations

import asyncio
import math
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from invites.connection.clients import Clients
from invites.keys import Keys
from tests.chaos.driver import Driver, Result
from tests.chaos.fleet import Fleet
from tests.chaos.gateway import Post
from tests.chaos.places import PLACES
from tests.chaos.reach import Reach
from tests.chaos.stories import rules
from tests.support.waiting import wait_until
from workers.lab.child_process import ChildProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.chaos.places import Place
    from workers.lab.fake_sippo import FakeSippo

_HOME: Final = str(Path(__file__).resolve().parents[2])
_WITHIN_S: Final = 60.0
_CALLS: Final = 300  # between one growth and the next


class Growth:
    """Adds shards as an operator would."""

    def __init__(self, url: str, fleet: Fleet) -> None:
        self.faults: list[str] = []
        self.interrupted = 0
        self.said: list[str] = []
        self._url = url
        self._fleet = fleet

    async def to(self, shards: int) -> None:
        """Grow to this number of shards; the command is killed once, as soon as it has moved something."""
        first = self._command(shards)
        await wait_until(lambda: "can no longer commit" in first.output(), "no worker can commit", _WITHIN_S)
        former = self._fleet.replace(shards)
        await wait_until(
            lambda: "Moved" in first.output() or not first.running(), "something is moved", _WITHIN_S
        )
        first.stop()
        self.interrupted += await self._layout(shards) != str(shards)
        again = self._command(shards)
        await wait_until(lambda: not again.running(), "the command has ended", _WITHIN_S)
        self.said.append(again.output())
        if again.wait(0) != 0:
            self.faults.append(f"the command failed: {again.output()}")
        again.stop()
        for worker in former:
            status = await asyncio.to_thread(worker.wait, int(_WITHIN_S * 1000))
            if status != 1 or "are being moved" not in worker.output():
                self.faults.append(f"a worker that counts as before ended with {status}: {worker.output()}")
            worker.stop()

    async def _layout(self, shards: int) -> str:
        async with Clients(self._url, "growing") as clients:
            keys = Keys(shards=shards)
            found: Any = await clients.of(keys).get(keys.layout)
            return str(found.decode())

    def _command(self, shards: int) -> ChildProcess:
        command = [sys.executable, "-m", "workers", "reshard", str(shards), "--redis-url", self._url]
        return ChildProcess(command, environment={**os.environ, "PYTHONPATH": _HOME})


class GrowingDriver(Driver):
    """Plays calls, and adds shards instead of doing harm."""

    def __init__(self, place: Place, fleet: Fleet, post: Post, seed: int, growth: Growth) -> None:
        super().__init__(place, fleet, post, seed)
        self._growth = growth
        self.numbers: Sequence[int] = ()
        # No timer waits for an event that was published to the shard of the old number.
        self._calls.excuse(math.inf)

    async def _harm_all(self, until: float, server_every_s: float, tell: Callable[[str], None]) -> None:  # noqa: ARG002 - as it is called
        await self._play_on()
        for shards in self.numbers:
            await self._growth.to(shards)
            tell(f"{shards} shards: {self._growth.said[-1].splitlines()[-1]}")
            await self._play_on()

    async def _play_on(self) -> None:
        wanted = self._calls.done + _CALLS
        await wait_until(lambda: self._calls.done >= wanted, f"{_CALLS} more calls are done", _WITHIN_S)


class GrowingReach(Reach):
    """Plays calls to groups and phones, and adds shards instead of harming workers."""

    def __init__(self, post: Post, fake_sippo: FakeSippo, fleet: Fleet, seed: int, growth: Growth) -> None:
        super().__init__(post, fake_sippo, fleet, seed)
        self._growth = growth
        self.numbers: Sequence[int] = ()

    async def _harm_workers(self) -> None:
        for shards in self.numbers:
            heard = self.heard.notifications
            await wait_until(
                lambda heard=heard: self.heard.notifications > heard + 100,  # type: ignore[misc] # its default is an int
                "calls are under way",
                _WITHIN_S,
            )
            await self._growth.to(shards)
            self._fleet.harm["grow"] += 1
        await self._healing.wait()


async def play_growing(
    place: str, numbers: Sequence[int], *, workers: int, seed: int, tell: Callable[[str], None]
) -> tuple[Result, Growth]:
    """Play calls on servers (one of `PLACES`), on these numbers of shards in turn; publishers keep using the first."""
    first, *more = numbers
    with (
        PLACES[place](more[-1], seed) as found,
        Fleet(found.url, workers, seed, rules(seed), shards=first) as fleet,
    ):
        async with Post(found.url, more[-1], published_to=first) as post:
            growth = Growth(found.url, fleet)
            driver = GrowingDriver(found, fleet, post, seed, growth)
            driver.numbers = more
            return await driver.run(0.0, 0.0, tell), growth
