"""`invites bench throughput --server`: the same load on several servers in turn."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from workers.lab.bench.target import BenchError
from workers.lab.bench.throughput import Plan, Round, Throughput, one_round, summarize
from workers.lab.embedded import EmbeddedValkey

EMBEDDED: Final = "embedded"
"""The embedded server as it is always started."""

LIBC: Final = "embedded:libc"
"""The same with the allocator of the C library, whatever else is installed."""


def measure(
    plan: Plan, servers: Sequence[str], report: Callable[[str, Round], None]
) -> dict[str, Throughput]:
    """Measure each server once in each round, with a server of its own each time. Calls `report` after each.

    A server is `EMBEDDED`, `LIBC` or the program of another one. Raises `BenchError` when there is no valid result,
    `EmbeddedError` when one cannot be started.
    """
    done: dict[str, list[Round]] = {name: [] for name in servers}
    for _ in range(plan.rounds):
        for name, rounds in done.items():
            with _running(name) as url:
                rounds.append(one_round(msgspec.structs.replace(plan, url=url)))
            report(name, rounds[-1])
    return {name: summarize(plan.load, rounds, plan.shards) for name, rounds in done.items()}


@contextlib.contextmanager
def _running(name: str) -> Iterator[str]:
    with EmbeddedValkey(binary=_program(name), preload=name != LIBC) as server:
        yield server.unix_url


def _program(name: str) -> Path | None:
    if name in {EMBEDDED, LIBC}:
        return None
    found = shutil.which(name)
    if found is None:
        raise BenchError(f"There is no server program {name!r}. It may also be {EMBEDDED} or {LIBC}.")
    return Path(found)
