"""Plays all publish orders times all settle orders of each set, then all timers, on the server functions and the model.

    make exhaustive
    python -m tests.model.exhaustive request push

Prints one table. Status 1 if a set failed; then the events, their orders and the difference follow.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from typing import NamedTuple

from redis.asyncio import Redis

from invites.store.scripts import Scripts
from tests.support.servers import binaries
from workers.lab.embedded import EmbeddedValkey

from .orders import PlayOrders
from .sets import SETS

_BY_NAME = {make.__name__: make for make in SETS}
_PARTS = 16


class Result(NamedTuple):
    """The result of a part of a set. `ends`: hashes of the states in which all was settled."""

    played: int
    ends: set[str]
    fault: str


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.model.exhaustive", description=__doc__)
    parser.add_argument(
        "sets", nargs="*", metavar="set", help=f"which sets (default: all): {', '.join(_BY_NAME)}"
    )
    names = parser.parse_args().sets or list(_BY_NAME)
    if unknown := set(names) - set(_BY_NAME):
        parser.error(f"there is no set {', '.join(sorted(unknown))}")
    faults: list[str] = []
    began, total = time.monotonic(), 0
    print(f"{'set':32}{'events':>8}{'histories':>12}{'end states':>12}", flush=True)
    with ProcessPoolExecutor(os.cpu_count(), initializer=_end_with_parent) as pool:
        for name in names:
            parts = list(pool.map(_play, [name] * _PARTS, range(_PARTS)))
            played = sum(part.played for part in parts)
            ends: set[str] = set().union(*(part.ends for part in parts))
            found = [part.fault for part in parts if part.fault]
            failed = "  FAILED" * bool(found)
            print(f"{name:32}{len(_BY_NAME[name]().events):8}{played:12,}{len(ends):12,}{failed}", flush=True)
            total, faults = total + played, faults + found[:1]
    print(f"{total:,} histories in {time.monotonic() - began:.0f} s", *faults, sep="\n\n")
    return 1 if faults else 0


def _end_with_parent() -> None:
    """Let this process end with its parent, however that ends."""

    def wait() -> None:
        parent = multiprocessing.parent_process()
        assert parent is not None
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _play(name: str, part: int) -> Result:
    with EmbeddedValkey(binary=binaries.SERVER) as server:
        return asyncio.run(_play_on(server.unix_url, name, part))


async def _play_on(url: str, name: str, part: int) -> Result:
    async with Redis.from_url(url) as client:
        play = PlayOrders(client, Scripts(), _BY_NAME[name]())
        fault = ""
        try:
            await play.play_all(part, _PARTS)
        except AssertionError as error:
            fault = "\n".join((f"{name}: {error}", *error.__notes__))
        return Result(play.played, play.ends, fault)


if __name__ == "__main__":
    sys.exit(main())
