"""How much memory a worker process takes at most for large events, in MiB (`VmHWM` of Linux).

    python -m tests.memory --events 300 --bytes 2097152

Three times, each with a new server and a new worker: the events wait before the worker starts; they come while it runs;
and they come behind a backlog of small ones. Prints what the dead letters then take on the server, too.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from redis.asyncio import Redis

from tests.support.servers.node import Node
from tests.support.waiting import wait_until
from tests.support.worker import KEYS, is_settled
from workers.lab.worker_process import start_worker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

PLACES: Final = ("waiting", "live", "behind")
_SMALL: Final = 20_000  # events before the large ones: enough for a worker to read full batches
_PATIENCE_S: Final = 300.0
_MIB: Final = 1024 * 1024


async def highest_memory(
    client: Any, url: str, place: str, events: int, size: int, small: int = _SMALL
) -> int:
    """The most memory that a worker process takes (bytes) until it has settled `events` events of `size` bytes."""
    if place == "behind":
        await _publish(client, (_question(number) for number in range(small)))
    if place != "live":
        await _publish(client, (_large(size) for _ in range(events)))
    with start_worker(url, {}) as worker:
        await wait_until(lambda: is_settled(client, KEYS.events), "the worker has settled all", _PATIENCE_S)
        if place == "live":
            await _publish(client, (_large(size) for _ in range(events)))
            await wait_until(
                lambda: is_settled(client, KEYS.events), "the worker has settled all", _PATIENCE_S
            )
        return _high_water(worker.pid)


def _large(size: int) -> dict[str, str]:
    payload = {"peer": {"id": "p", "user": "u"}, "unknown": "x" * size}
    return {"type": "getInvitations", "payload": json.dumps(payload)}


def _question(number: int) -> dict[str, str]:
    payload = {"peer": {"id": f"p{number}", "user": f"u{number}"}}
    return {"type": "getInvitations", "payload": json.dumps(payload)}


async def _publish(client: Any, events: Iterable[dict[str, str]]) -> None:
    for fields in events:
        await client.xadd(KEYS.events, fields)


def _high_water(pid: int) -> int:
    found = re.search(r"^VmHWM:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text("ascii"), re.MULTILINE)
    assert found is not None, "this is no Linux"
    return int(found[1]) * 1024


@contextlib.asynccontextmanager
async def _server() -> AsyncIterator[tuple[Any, str]]:
    with Node() as node:
        async with Redis.from_url(node.url) as client:
            yield client, node.url


async def _measure(events: int, size: int) -> None:
    for place in PLACES:
        async with _server() as (client, url):
            memory = await highest_memory(client, url, place, events, size)
            letters = await client.memory_usage(KEYS.dead, samples=0) or 0
        line = f"{place:8} worker {memory / _MIB:7.0f} MiB, dead letters {letters / _MIB:7.1f} MiB"
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="How much memory a worker takes for large events.")
    parser.add_argument("--events", type=int, default=300)
    parser.add_argument("--bytes", type=int, default=2 * _MIB)
    chosen = parser.parse_args()
    asyncio.run(_measure(chosen.events, chosen.bytes))
