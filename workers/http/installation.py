"""Reads the state that all workers share from the server: for the console, and for people with curl."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

import msgspec
from redis.exceptions import NoPermissionError, RedisError

from invites.queries.dead_letters import DeadLetters
from invites.queries.health import Level, Problem, as_objects, problems_of
from invites.queries.overview import Overview, overview
from invites.store.minutes import ANSWER_S, read_minutes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from invites.connection.clients import Clients
    from invites.keys import Keys

_SHARD_WITHIN_S: Final = 1.0
_AT_ONCE: Final = 8  # shards of a cluster, each with connections of its own
_PLACE_S: Final = 0.2  # a shard that takes longer hangs, and the others do not wait for it
# An overview scans all timers. All callers share it, and it is repeated after twenty times as long as it took.
_OFTEN_S: Final = 1.0
_SELDOM_S: Final = 10.0
_SHARE: Final = 20


class Installation:
    """Reads all shards. The methods raise redis exceptions, except where they report unreachable shards.

    They wait for their `turn` at the connections of `clients`.
    """

    def __init__(self, shards: Sequence[Keys], clients: Clients, turn: asyncio.Semaphore) -> None:
        self._shards = shards
        self._clients = clients
        self._turn = turn
        is_cluster = clients.kind == "cluster"
        self._at_once = asyncio.Semaphore(_AT_ONCE if is_cluster else 1)
        self._place_s = _PLACE_S if is_cluster else _SHARD_WITHIN_S
        self._reading = asyncio.Lock()
        self._found: dict[str, Any] = {}
        self._again_at = 0.0

    async def overview(self) -> dict[str, Any]:
        """`shards`, and the `problems` with their shards, the worst first. An unreachable shard hides no other one.

        It may be some seconds old: `at` (ms since 1970) says when it was read, by this worker's clock.
        """
        async with self._reading:
            began = time.monotonic()
            if began >= self._again_at:
                async with self._turn:  # callers that wait for this reading wait for no turn
                    self._found = await self._overview()
                ended = time.monotonic()
                self._again_at = ended + min(_SELDOM_S, max(_OFTEN_S, _SHARE * (ended - began)))
            return self._found

    async def dead_letters(self, limit: int) -> list[dict[str, Any]]:
        """The newest dead letters of all shards, each with its `shard`, the newest first."""
        found: list[tuple[tuple[int, ...], dict[str, Any]]] = []
        for keys in self._shards:
            async with self._turn:
                letters = await DeadLetters(self._clients.of(keys), keys).newest(limit)
            for letter in letters:
                place = tuple(map(int, letter.id.split("-")))
                found.append((place, {"shard": keys.shard, **msgspec.to_builtins(letter)}))
            found.sort(key=lambda one: one[0], reverse=True)
            del found[limit:]
        return [letter for _, letter in found]

    async def minutes(self) -> dict[str, Any]:
        """How calls ended in the last hour, by the workers' counts."""
        keys = self._shards[0]
        async with self._turn:
            minutes = await read_minutes(self._clients.of(keys), keys)
        return {"answerBounds": ANSWER_S, "minutes": minutes}

    async def _overview(self) -> dict[str, Any]:
        at = time.time_ns() // 1_000_000
        looked = await asyncio.gather(*map(self._look, self._shards))
        found = sorted(problems_of(self._shards, looked), key=lambda one: -one[1].level)
        return {
            "at": at,
            "problems": as_objects(found),
            "shards": [one for one in looked if isinstance(one, Overview)],
        }

    async def _look(self, keys: Keys) -> Overview | Problem:
        began = asyncio.Event()
        looking = asyncio.create_task(self._overview_of(keys, began))
        try:
            async with self._at_once:
                began.set()
                await asyncio.wait([looking], timeout=self._place_s)
            return await looking
        except NoPermissionError:
            lacks = "the worker's Redis user may not read all of it: `invites check` says what it lacks"
            return Problem(Level.WARNING, lacks)
        except (RedisError, OSError, TimeoutError):
            return Problem(Level.CRITICAL, "its server does not answer")
        finally:
            looking.cancel()

    async def _overview_of(self, keys: Keys, began: asyncio.Event) -> Overview:
        await began.wait()
        async with asyncio.timeout(_SHARD_WITHIN_S):
            return await overview(self._clients.of(keys), keys)
