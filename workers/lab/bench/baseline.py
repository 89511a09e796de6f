"""Measures the bare server: sends it the workers' commits as fast as it takes them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from itertools import islice
from typing import Any, Final, cast

import msgspec
from redis.asyncio import Redis

from invites.events.decoding import decode_event_entry
from invites.store.answers import Status, read_commit
from invites.store.commit import Committer
from invites.store.scripts import Scripts
from invites.store.settings import Settings
from workers.lab.bench.connection import pack
from workers.lab.bench.load import RING_MS, Event, Load
from workers.lab.bench.target import BenchError, Target

_PAGE: Final = 20_000
_LARGE: Final = 500  # events in a commit when latency does not matter


class _Recorder:
    """Replaces the client and keeps what the committer sends."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    async def execute_command(self, *arguments: bytes | str | int) -> list[Any]:
        self.sent.append(pack(*arguments))
        return [b"0", b"", b"0", b""]


class Baseline:
    """Sends prepared commits, with the function, keys and settings of the workers, and without their limits.

    Every call rings, also those of one device to one callee.
    """

    def __init__(self, target: Target, settings: Settings) -> None:
        scripts = Scripts()
        self._target = target
        self._recorder = _Recorder()
        settings = msgspec.structs.replace(
            settings,
            ring_timeout=RING_MS,
            max_ring_timeout=RING_MS,
            per_callee=0,
            per_caller=0,
            per_pair=0,
            redial="ring",
        )
        client = cast("Redis", self._recorder)
        self._committers = [
            (keys, Committer(client, keys, settings, scripts, verbosity=0)) for keys in target.shards
        ]
        if scripts.library is not None:
            # A worker may have loaded it already.
            target.command("FUNCTION", "LOAD", "REPLACE", scripts.library.text)

    def register(self, load: Load) -> None:
        """Register all devices before a measurement begins."""
        self.settle(load.registrations())

    def settle(self, events: Iterable[Event]) -> None:
        """Publish and settle events without a worker. The streams are empty afterwards."""
        coming = iter(events)
        while page := list(islice(coming, _PAGE)):
            self._target.publish(page)
            self._send(_LARGE)
            self._target.empty_streams()

    def make_pending(self, load: Load) -> None:
        """Register the devices and make all invites of the load. No device accepts them."""
        self.register(load)
        self.settle(load.invites())

    def measure(self, batch: int) -> float:
        """Prepare the backlog's commits, `batch` events each, send them, and return the seconds of the sending."""
        return self._send(batch)

    def _send(self, size: int) -> float:
        packed = asyncio.run(self._prepare(size))
        began = time.perf_counter()
        replies = self._target.send(packed)
        took = time.perf_counter() - began
        outcomes = (outcome for reply in replies for outcome in read_commit(reply).outcomes)
        failed = [outcome for outcome in outcomes if outcome.status is not Status.DONE]
        if failed:
            raise BenchError(f"{len(failed)} events failed on the bare server, the first with {failed[0]!r}.")
        return took

    async def _prepare(self, size: int) -> list[bytes]:
        self._recorder.sent.clear()
        for keys, committer in self._committers:
            operations = [decode_event_entry(entry, max_deliveries=1) for entry in self._target.take(keys)]
            for first in range(0, len(operations), size):
                await committer.commit(operations[first : first + size])
        return list(self._recorder.sent)
