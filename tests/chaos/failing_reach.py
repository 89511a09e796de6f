"""Plays calls to groups and to phones in pockets while workers die, sippo-server fails and servers fail over."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from invites.keys import Stream
from tests.chaos.driver import Result
from tests.chaos.fleet import Fleet
from tests.chaos.gateway import Post, Script
from tests.chaos.places import PLACES
from tests.chaos.reach import Reach, asking, directory
from tests.support.waiting import wait_until
from workers.lab.fake_sippo import FakeSippo

if TYPE_CHECKING:
    from tests.chaos.calls import Event
    from tests.chaos.places import Place

_WITHIN_S: Final = 60.0
_SHARDS: Final = 3
_KINDS: Final = ("kill", "kill", "stop")


class FailingReach(Reach):
    """Like Reach, but after enough harm to workers the servers are harmed too. Nobody publishes meanwhile.

    What a server loses are the results of pushes. An accept that is settled again may overtake its invite, and a phone
    cannot be told to stop for a call that never rings again: see "What a server can lose" in
    invites/contract/guarantees.md. So the events are settled first.
    """

    def __init__(self, post: Post, fake_sippo: FakeSippo, fleet: Fleet, seed: int, place: Place) -> None:
        super().__init__(post, fake_sippo, fleet, seed)
        self.away_s: list[tuple[float, float]] = []
        self.memory = 0
        self.longest_script = Script()
        self._place = place
        self._publishing = asyncio.Lock()
        place.at_worst = fleet.expect_unready

    async def check_again(self) -> None:
        """Judge by the data that the servers have kept: lost effects have happened again."""
        self.heard.begin_again()
        await self._post.listen_again(self.heard.hear)
        self.faults = self.heard.check([push.job for push in self._fake_sippo.pushes])
        self.faults += await self._post.leaks()

    async def _publish(self, events: list[Event]) -> None:
        async with self._publishing:
            await super()._publish(events)

    async def _harm_workers(self) -> None:
        for number in itertools.count(1):
            if self._healing.is_set():
                break
            await asyncio.sleep(self._random.uniform(0.5, 1.5))
            await asyncio.to_thread(self._fleet.thaw)
            if number % 4 == 0:
                await self._harm_servers()
            else:
                await asyncio.to_thread(self._fleet.harm_one)
            self.memory = max(self.memory, self._fleet.memory())
            self.longest_script = max(self.longest_script, await self._post.longest_script())
        await asyncio.to_thread(self._fleet.thaw, all_=True)

    async def _no_events(self) -> bool:
        # A message between shards may be settled before the look at the shard that it went to, and make another one.
        return all([await self._post.settled((Stream.EVENTS, Stream.RELAY)) for _ in range(2)])

    async def _harm_servers(self) -> None:
        async with self._publishing:
            await wait_until(self._no_events, "the events are settled", _WITHIN_S)
            await asyncio.to_thread(self._place.begin_to_lose)
            began = time.monotonic()
            await asyncio.to_thread(self._place.harm)
            served = time.monotonic()
            async with self._sparing_sippo_server:
                self._fake_sippo.heal()
                await wait_until(self._post.decided, "the workers go on after a fail-over", _WITHIN_S)
            self.away_s.append((served - began, time.monotonic() - began))
        await asyncio.to_thread(self._place.repair)


async def play_groups(
    place: str, *, rounds: int, harmed: int, workers: int, seed: int, tell: Callable[[str], None]
) -> Result:
    """Play at least `rounds` rounds on servers (one of `PLACES`), until enough workers are `harmed`."""
    began = time.monotonic()
    async with FakeSippo(directory()) as fake_sippo:
        with (
            PLACES[place](_SHARDS, seed) as found,
            Fleet(found.worker_urls, workers, seed, asking(fake_sippo), _KINDS, _SHARDS) as fleet,
        ):
            async with Post(found.url, _SHARDS) as post:
                reach = FailingReach(post, fake_sippo, fleet, seed, found)
                faults = []
                try:
                    await reach.play(rounds, harmed)
                except AssertionError as error:
                    faults.append(str(error))
                await reach.check_again()
                took = time.monotonic() - began
                tell(f"{len(reach.heard.calls)} calls to groups and phones")
                harm = fleet.harm | {"fail-over": len(reach.away_s)}
                return Result(
                    len(reach.heard.calls),
                    post.sent,
                    took,
                    0.0,
                    0,
                    harm,
                    reach.away_s,
                    faults + reach.faults + fleet.faults,
                    reach.memory,
                    reach.longest_script,
                    fleet.unready_s,
                )
