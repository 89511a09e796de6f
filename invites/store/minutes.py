"""How calls ended, minute by minute, as workers count it: for people who look at an installation without Prometheus.

A worker writes its own counts into shard 0, at most once a second, apart from all commits. A minute is by the worker's
own clock: only a picture depends on it.
"""

from __future__ import annotations

import contextlib
import time
from bisect import bisect_left
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Struct

from invites.store.measures import Ended

if TYPE_CHECKING:
    from collections.abc import Iterable

    from redis.asyncio import Redis

    from invites.keys import Keys
    from invites.store.measures import Measure

ANSWER_S: Final = (1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0, 120.0)
"""The upper bounds of the times to an answer (s). One more class has the longer ones."""

SHOWN: Final = 60
"""How many minutes a picture has."""

_MINUTE_MS: Final = 60_000
_KEPT_MS: Final = 2 * SHOWN * _MINUTE_MS


class Counts(Struct):
    """Calls that ended, by reason, and answers by their class of `ANSWER_S`."""

    ended: dict[str, int] = {}
    answered: list[int] = msgspec.field(default_factory=lambda: [0] * (len(ANSWER_S) + 1))

    def add(self, other: Counts) -> None:
        """Add what another worker has counted. Raises ValueError if it has other classes of answers."""
        self.answered = [sum(both) for both in zip(self.answered, other.answered, strict=True)]
        for reason, count in other.ended.items():
            self.ended[reason] = self.ended.get(reason, 0) + count


class Minute(Counts, kw_only=True):
    """The counts of all workers. `at` is when the minute began (ms since 1970), `workers` how many have counted."""

    at: int
    workers: int = 0


class Minutes:
    """The counts of one worker."""

    def __init__(self) -> None:
        self._counts: dict[
            int, Counts
        ] = {}  # those of the running minute, and those that are not written yet
        self._changed: set[int] = set()

    def count(self, measures: Iterable[Measure]) -> None:
        """Count the measures of a commit, or of fired timers."""
        counted = [one for one in measures if isinstance(one, Ended) or one.what == "answered"]
        if not counted:
            return
        counts = self._now()
        for measure in counted:
            if isinstance(measure, Ended):
                counts.ended[measure.reason] = counts.ended.get(measure.reason, 0) + 1
            else:
                counts.answered[bisect_left(ANSWER_S, measure.seconds)] += 1

    async def write(self, client: Redis, keys: Keys, worker: str) -> None:
        """Write the minutes that have changed, as `worker`. The next call retries counts that could not be written.

        Raises redis exceptions.
        """
        changed, self._changed = self._changed, set()
        if not changed:
            return
        try:
            async with client.pipeline(transaction=False) as pipe:
                for minute in changed:
                    key = keys.minute(minute)
                    pipe.hset(key, worker, msgspec.json.encode(self._counts[minute]))
                    pipe.pexpireat(key, minute * _MINUTE_MS + _KEPT_MS)
                await pipe.execute()
        except BaseException:
            self._changed |= changed & self._counts.keys()
            raise
        running = _minute_of(time.time_ns() // 1_000_000)
        self._counts = {
            minute: counts
            for minute, counts in self._counts.items()
            if minute == running or minute in self._changed
        }

    def _now(self) -> Counts:
        minute = _minute_of(time.time_ns() // 1_000_000)
        self._changed.add(minute)
        if minute not in self._counts:
            for old in [one for one in self._counts if one <= minute - SHOWN]:
                del self._counts[old]  # the server was unreachable for that long
                self._changed.discard(old)
            self._counts[minute] = Counts()
        return self._counts[minute]


async def read_minutes(client: Redis, keys: Keys) -> list[Minute]:
    """The last `SHOWN` minutes in which calls ended, the oldest first. Raises redis exceptions."""
    seconds, _ = await client.time()
    running = _minute_of(seconds * 1000)
    numbers = range(running - SHOWN + 1, running + 1)
    async with client.pipeline(transaction=False) as pipe:
        for minute in numbers:
            pipe.hgetall(keys.minute(minute))
        found = await pipe.execute()
    minutes = []
    for number, workers in zip(numbers, found, strict=True):
        total = Minute(at=number * _MINUTE_MS, workers=len(workers))
        for value in workers.values():
            with contextlib.suppress(
                msgspec.DecodeError, ValueError
            ):  # another release counts in another way
                total.add(msgspec.json.decode(value, type=Counts))
        if workers:
            minutes.append(total)
    return minutes


def _minute_of(ms: int) -> int:
    return ms // _MINUTE_MS
