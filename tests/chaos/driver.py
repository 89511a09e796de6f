"""Plays calls while workers and the server are harmed, and compares what came of them with what had to come."""

from __future__ import annotations

import asyncio
import json
import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from invites.keys import Keys
from tests.chaos.calls import Calls, encode
from tests.chaos.fleet import Fleet
from tests.chaos.server import LastingServer
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.chaos.calls import Event

_OPEN: Final = 400  # calls at once
_PAGE: Final = 1_000
_BREATH_S: Final = 0.005
_SETTLE_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Result:
    """What a run has shown. `faults` is empty when every event had its effect once."""

    calls: int
    events: int
    seconds: float
    slowest_s: float
    harm: dict[str, int]
    faults: list[str]

    def words(self) -> str:
        """In one paragraph."""
        harm = ", ".join(f"{count} x {kind}" for kind, count in self.harm.items())
        return (
            f"{self.calls} calls, {self.events} events in {self.seconds:.1f} s: {self.calls / self.seconds:.0f} "
            f"calls/s, {self.events / self.seconds:.0f} events/s. Workers and server: {harm}. The longest wait "
            f"for an invitation was {self.slowest_s:.1f} s. Faults: {len(self.faults)}."
        )


class Driver:
    """One run."""

    def __init__(self, server: LastingServer, fleet: Fleet, seed: int) -> None:
        self._server = server
        self._fleet = fleet
        self._keys = Keys()
        self._client: Any = Redis.from_url(server.url)  # typed, every reply is a union of all its shapes
        self._calls = Calls(seed)
        self._random = random.Random(seed)
        self._outbox: list[Event] = []
        self._heard = b"0-0"
        # Held while events are on their way: of those nobody could say whether a dying server has taken them.
        self._publishing = asyncio.Lock()
        self._harm: dict[str, int] = {"server": 0}

    async def run(self, seconds: float, server_every_s: float, tell: Callable[[str], None]) -> Result:
        """Play for so many seconds; kill the server so often (0: never); then wait for the rest, and check."""
        began = time.monotonic()
        async with self._client:
            self._outbox += self._calls.registrations()
            await self._publish()
            await wait_until(self._all_settled, "the devices are registered")
            stop = asyncio.Event()
            loops = [asyncio.create_task(loop) for loop in (self._talk(stop), self._listen(stop))]
            try:
                await self._harm_all(began + seconds, server_every_s, tell)
                stop.set()
                await loops[0]
                await wait_until(
                    lambda: not self._calls.open and not self._outbox, "all calls are over", _SETTLE_S
                )
                await wait_until(self._nothing_is_open, "all is settled and heard", _SETTLE_S)
            except AssertionError as error:
                self._calls.faults.append(str(error))
            finally:
                for loop in loops:
                    loop.cancel()
                await asyncio.gather(*loops, return_exceptions=True)
        took = time.monotonic() - began
        calls = self._calls
        harm = {**self._fleet.harm, **self._harm}
        return Result(calls.done, calls.events, took, calls.slowest_s, harm, calls.check())

    async def _all_settled(self) -> bool:
        try:
            groups = await self._client.xinfo_groups(self._keys.events)
        except RedisError:
            return False
        return bool(groups and groups[0]["pending"] == 0 and groups[0]["lag"] == 0)

    async def _nothing_is_open(self) -> bool:
        if not await self._all_settled():
            return False
        last = await self._client.xrevrange(self._keys.notifications, count=1)
        return [self._heard] == [entry for entry, _ in last]

    async def _talk(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            self._outbox += [self._calls.begin() for _ in range(_OPEN - len(self._calls.open))]
            await self._publish()
            await asyncio.sleep(_BREATH_S)

    async def _publish(self) -> None:
        async with self._publishing:
            events, self._outbox = self._outbox, []
            if not events:
                return
            async with self._client.pipeline(transaction=False) as pipe:
                for event in events:
                    pipe.xadd(self._keys.events, encode(event))
                await pipe.execute()
            self._calls.events += len(events)

    async def _listen(self, stop: asyncio.Event) -> None:
        while True:
            try:
                found = await self._client.xread({self._keys.notifications: self._heard}, _PAGE, block=100)
            except (RedisError, OSError):
                await asyncio.sleep(_BREATH_S)
                continue
            for entry, fields in found[0][1] if found else ():
                self._heard = entry
                self._outbox += self._hear(fields)
            if stop.is_set():
                await self._publish()

    def _hear(self, fields: dict[bytes, bytes]) -> list[Event]:
        payload: dict[str, Any] = json.loads(fields[b"payload"])
        peers: list[str] = json.loads(fields[b"peers"])
        return self._calls.hear(fields[b"id"].decode(), fields[b"type"].decode(), peers, payload)

    async def _harm_all(self, until: float, server_every_s: float, tell: Callable[[str], None]) -> None:
        server_at = time.monotonic() + server_every_s
        while time.monotonic() < until:
            await asyncio.sleep(self._random.uniform(0.5, 1.5))
            await asyncio.to_thread(self._fleet.thaw)
            if server_every_s and time.monotonic() >= server_at:
                server_at = time.monotonic() + server_every_s
                await self._kill_server()
                tell(f"server killed and restarted; {self._calls.done} calls done")
            else:
                kind = await asyncio.to_thread(self._fleet.harm_one)
                tell(f"{kind} a worker; {self._calls.done} calls done")
        await asyncio.to_thread(self._fleet.thaw, all_=True)

    async def _kill_server(self) -> None:
        async with self._publishing:
            self._harm["server"] += 1
            await asyncio.to_thread(self._server.kill)
            await asyncio.to_thread(self._server.start)
            # The connections to the dead server; the next command makes a new one.
            await self._client.connection_pool.disconnect()


async def play(
    *, seconds: float, workers: int, server_every_s: float, seed: int, tell: Callable[[str], None]
) -> Result:
    """Run the chaos on a server and workers of its own."""
    with LastingServer() as server, Fleet(server.url, workers, seed) as fleet:
        return await Driver(server, fleet, seed).run(seconds, server_every_s, tell)
