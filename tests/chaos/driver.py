"""Plays calls while workers and servers are harmed, and compares their effects with the expected ones."""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from redis.exceptions import RedisError

from tests.chaos.calls import Calls
from tests.chaos.fleet import Fleet
from tests.chaos.gateway import Post, Script
from tests.chaos.nuisance import GROUP, Nuisance
from tests.chaos.persistent import Persistent
from tests.chaos.places import PLACES
from tests.chaos.stories import Stories, rules
from tests.support.waiting import wait_until
from workers.aio.tasks import end

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from tests.chaos.calls import Event
    from tests.chaos.places import Place

_OPEN: Final = 400  # calls at once
_BURST: Final = 600  # more of them, so that many are in progress when a server is harmed
_BREATH_S: Final = 0.005
_SETTLE_S: Final = 60.0
_EXCUSED_S: Final = 10.0  # more than a clock steps, and the time for which people see the step
_MOST_MEMORY: Final = 256 * 1024 * 1024


HEADINGS: Final = (
    "   calls   events  harm  away  served  settled  unready  longest  memory  script  faults\n"
    "                                         s        s        s   wait s     MiB      ms"
)


@dataclass(frozen=True, slots=True)
class Result:
    """The result of a run. `faults` is empty if every event had its effect once.

    `harm` counts what was done to workers and servers. `away_s`: for each time that servers were harmed, how long it
    took until commands were served again, and until the workers had settled the backlog. `memory` (bytes) is
    that of the largest worker, `longest_script` by the servers' slow logs; both were looked at after each harm.
    `unready_s` is the longest time until all workers said that they were not ready, when nothing could be committed.
    """

    calls: int
    events: int
    seconds: float
    slowest_s: float
    repeated: int
    harm: dict[str, int]
    away_s: list[tuple[float, float]]
    faults: list[str]
    memory: int = 0
    longest_script: Script = field(default_factory=Script)
    unready_s: float = 0.0

    def row(self) -> str:
        """As a row of a table, below `HEADINGS`."""
        served, settled = (
            (statistics.median(times) for times in zip(*self.away_s, strict=True))
            if self.away_s
            else (0.0, 0.0)
        )
        return (
            f"{self.calls:8}{self.events:9}{sum(self.harm.values()):6}{len(self.away_s):6}{served:9.2f}{settled:9.2f}"
            f"{self.unready_s:9.2f}{self.slowest_s:9.1f}{self.memory / 2**20:8.0f}"
            f"{self.longest_script.seconds * 1000:8.0f}{len(self.faults):8}"
        )

    def words(self) -> str:
        """In one paragraph."""
        harm = ", ".join(f"{count} x {kind}" for kind, count in self.harm.items())
        away = ""
        if self.away_s:
            served, settled = (statistics.median(times) for times in zip(*self.away_s, strict=True))
            away = f"Medians: {served:.2f} s until served again, {settled:.2f} s until all was settled. "
        unready = f"None was ready {self.unready_s:.2f} s after a loss, at most. " if self.unready_s else ""
        script = self.longest_script
        longest = (
            f"The longest script took {script.seconds * 1000:.0f} ms: {script.words}. "
            if script.words
            else ""
        )
        return (
            f"{self.calls} calls, {self.events} events in {self.seconds:.1f} s: {self.calls / self.seconds:.0f} "
            f"calls/s, {self.events / self.seconds:.0f} events/s. Workers and servers: {harm}. {away}{unready}The "
            f"longest wait for an invitation was {self.slowest_s:.1f} s. Lost and told again: {self.repeated} "
            f"notifications. {longest}Faults: {len(self.faults)}."
        )


class Driver:
    """One run."""

    def __init__(self, place: Place, fleet: Fleet, post: Post, seed: int) -> None:
        self._place = place
        self._fleet = fleet
        self._post = post
        self._calls = Calls(seed)
        self._stories: Stories | Persistent = Persistent(seed) if place.repeat else Stories(seed, rules(seed))
        self._most_open = 0 if place.repeat else _OPEN
        self._random = random.Random(seed)
        self._nuisance = Nuisance(post, seed)
        self._faults: list[str] = []
        self._outbox: list[Event] = []
        # Held while events are in flight: it would be unknown whether a dying server has taken them.
        self._publishing = asyncio.Lock()
        self._harm: dict[str, int] = {}
        self._away_s: list[tuple[float, float]] = []
        self._memory = 0
        self._longest_script = Script()

    async def run(self, seconds: float, server_every_s: float, tell: Callable[[str], None]) -> Result:
        """Play for `seconds`, harm the servers every `server_every_s` (0: never), then wait for the rest, and check."""
        began, calls, post = time.monotonic(), self._calls, self._post
        stories = self._stories
        await post.make_streams()
        await post.abandon(GROUP)
        post.note_sent = calls.note_sent
        self._place.at_worst = self._fleet.expect_unready
        self._outbox += calls.registrations() + stories.registrations()
        await self._publish()
        await wait_until(post.settled, "the devices are registered")
        stop, faults = asyncio.Event(), self._faults
        listening = post.listen(self._hear, self._outbox.extend)
        loops = [asyncio.create_task(loop) for loop in (self._talk(stop), listening)]
        try:
            await self._harm_all(began + seconds, server_every_s, tell)
            stop.set()
            await self._finish()
            self._outbox += stories.begin_last()
            await self._finish()
            await wait_until(self._all_ready, "all workers are ready", _SETTLE_S)
        except AssertionError as error:
            faults += [str(error), *(f"{name} is not over" for name in stories.open())]
        finally:
            await end(loops)
        faults += [repr(loop.exception()) for loop in loops if not loop.cancelled() and loop.exception()]
        repeated = calls.repeated + stories.repeated
        calls.begin_again()
        stories.begin_again()
        try:
            await post.listen_again(self._hear)
            faults += await post.leaks()
            faults += [] if self._place.repeat else await self._nuisance.faults()
        except RedisError as error:
            faults.append(f"what was kept cannot be heard: {error!r}")
        took = time.monotonic() - began
        harm = {**self._fleet.harm, **self._harm}
        faults += calls.check() + stories.check() + self._fleet.faults
        if self._memory > _MOST_MEMORY:
            faults.append(f"a worker took {self._memory} bytes")
        return Result(
            calls.done + stories.done,
            post.sent,
            took,
            calls.slowest_s,
            repeated,
            harm,
            self._away_s,
            faults,
            self._memory,
            self._longest_script,
            self._fleet.unready_s,
        )

    def _hear(self, identity: str, kind: str, peers: list[str], payload: dict[str, Any]) -> list[Event]:
        events = self._stories.hear(identity, kind, peers, payload)
        return self._calls.hear(identity, kind, peers, payload) if events is None else events

    async def _relearn(self) -> None:
        """Nobody who is busy only by a dead primary's word becomes free: its successor may not make them busy again."""
        if isinstance(self._stories, Stories):
            self._stories.forget_busy()
            await self._post.listen_again(self._stories.hear_busy)
            self._outbox += self._stories.go_on_all()

    async def _finish(self) -> None:
        """Wait until everything that has begun is over."""
        calls, stories = self._calls, self._stories
        await wait_until(
            lambda: not (calls.open or stories.open() or self._outbox), "all calls are over", _SETTLE_S
        )
        await wait_until(self._post.over, "all is settled and heard", _SETTLE_S)

    async def _talk(self, stop: asyncio.Event) -> None:
        while True:
            if not stop.is_set():
                self._outbox += [self._calls.begin() for _ in range(self._most_open - len(self._calls.open))]
            self._stories.go_on = not stop.is_set()
            self._outbox += self._stories.begin() + self._calls.due()
            await self._publish()
            await asyncio.sleep(_BREATH_S)

    async def _publish(self) -> None:
        async with self._publishing:
            await self._send()

    async def _send(self) -> None:
        events = self._outbox[:]
        self._outbox.clear()
        try:
            # What was refused goes first: a person's next event must not overtake it.
            self._outbox[:0] = await self._post.send(events)
        except (RedisError, OSError):
            if not self._place.repeat:
                raise

    async def _harm_all(self, until: float, server_every_s: float, tell: Callable[[str], None]) -> None:
        server_at = time.monotonic() + server_every_s
        # On a busy machine a worker's end may take all the time that a short run has.
        while time.monotonic() < until or (server_every_s and not self._away_s):
            await asyncio.sleep(self._random.uniform(0.5, 1.5))
            await asyncio.to_thread(self._fleet.thaw)
            async with self._publishing:
                await self._nuisance.disturb()
                if ahead_s := await self._nuisance.step_clock():
                    self._calls.excuse(ahead_s)
            if server_every_s and time.monotonic() >= server_at:
                kind = await self._harm_servers()
                server_at = time.monotonic() + server_every_s
                served, settled = self._away_s[-1]
                tell(f"{kind}: {served:.2f} s until served again, {settled:.2f} s until all was settled")
            else:
                kind = await asyncio.to_thread(self._fleet.harm_one)
                tell(f"{kind} a worker; {self._calls.done + self._stories.done} calls done")
            self._memory = max(self._memory, self._fleet.memory())
            self._longest_script = max(self._longest_script, await self._post.longest_script())
        await asyncio.to_thread(self._fleet.thaw, all_=True)

    async def _all_ready(self) -> bool:
        return await asyncio.to_thread(self._fleet.all_ready)

    async def _harm_servers(self) -> str:
        if not self._place.loses:
            if self._place.blinds:
                # A worker that starts meanwhile would rightly end.
                await wait_until(self._all_ready, "all workers are ready", _SETTLE_S)
            if self._place.steps:
                self._calls.excuse(_EXCUSED_S)
            harming = asyncio.create_task(self._harm_once())
            if self._place.restarts:
                await asyncio.to_thread(self._fleet.harm_one, "kill")
            kind = await harming
            await asyncio.to_thread(self._place.repair)
            return kind
        self._calls.excuse()
        async with self._publishing:
            # The events are kept, and the workers' commits are lost.
            self._fleet.pause()
            try:
                self._outbox += [self._calls.begin() for _ in range(_BURST)]
                await self._send()
                await asyncio.to_thread(self._place.begin_to_lose)
            finally:
                self._fleet.go_on()
            kind = await self._harm_once()
        await asyncio.to_thread(self._place.repair)
        await wait_until(self._all_ready, f"all workers are ready after a {kind}", _SETTLE_S)
        return kind

    async def _harm_once(self) -> str:
        began = time.monotonic()
        kind = await asyncio.to_thread(self._place.harm)
        served = time.monotonic()
        if self._place.loses:
            # The lost commits happen again before anybody continues: an accept of an invite that the new primary has
            # yet to see would be one of an unknown invite.
            await wait_until(self._post.decided, f"the workers go on after a {kind}", _SETTLE_S)
            await self._relearn()
        self._away_s.append((served - began, time.monotonic() - began))
        self._harm[kind] = self._harm.get(kind, 0) + 1
        return kind


async def play(
    place: str,
    *,
    seconds: float,
    workers: int,
    server_every_s: float,
    seed: int,
    tell: Callable[[str], None],
    shards: int = 1,
) -> Result:
    """Run the chaos on servers (one of `PLACES`) and workers of its own."""
    with (
        PLACES[place](shards, seed) as found,
        Fleet(found.worker_urls, workers, seed, rules(seed), shards=shards) as fleet,
    ):
        async with Post(found.url, shards) as post:
            return await Driver(found, fleet, post, seed).run(seconds, server_every_s, tell)
