"""How many instructions the server executes for a complete call: much the same each time, on the busiest machine.

Once in commits of 128 events, as under load, and once in commits of one, as by an idle worker. With several shards the
events are read one batch at a time, and what the shards relay to each other is carried and counted too.

    python -m tests.instructions [--shards N]

Valgrind counts them (Debian's package `valgrind`), which takes some 20 s. A call is that of `invites bench throughput`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

import redis

from invites.store.settings import Settings
from tests.support.carried import Carried
from tests.support.servers.binaries import SERVER
from tests.support.servers.node import free_port
from tests.support.waiting import wait_until_sync
from workers.lab.bench.baseline import Baseline
from workers.lab.bench.load import RING_MS, Load
from workers.lab.bench.target import Target, open_target

if TYPE_CHECKING:
    from collections.abc import Sequence

_CALLS: Final = 512
_BATCHES: Final = (128, 1)
_SETTINGS: Final = Settings(ring_timeout=RING_MS, max_ring_timeout=RING_MS)
_TOTAL: Final = re.compile(r"([\d,]+) .*PROGRAM TOTALS")


def instructions(batch: int, shards: int = 1) -> int:
    """Instructions for one complete call with three devices, in commits of `batch` events."""
    with tempfile.TemporaryDirectory() as folder:
        url, counts = f"redis://127.0.0.1:{(port := free_port())}/0", Path(folder, "counts")
        count = ["valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={counts}"]
        options = ["--port", str(port), "--dir", folder, "--save", "", "--hash-max-listpack-value", "1024"]
        options += ["--slowlog-log-slower-than", "-1"]  # under valgrind most calls are slow, by chance
        server = subprocess.Popen(
            [*count, str(SERVER), *options],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            wait_until_sync(lambda: _answers(url), "the server answers")
            with open_target(url, shards) as target:
                _settle(target, server.pid, batch)
        finally:
            server.terminate()
            server.wait()
        texts = [_annotated(path) for path in counts.parent.glob("counts*")]
    return max(int(found[1].replace(",", "")) for text in texts if (found := _TOTAL.search(text))) // _CALLS


def _settle(target: Target, pid: int, batch: int) -> None:
    load, baseline = Load(_CALLS, 3, 1), Baseline(target, Settings())
    target.make_groups()
    baseline.register(load)
    target.publish(load.backlog())
    _control(pid, "-i", "on")
    if len(target.shards) == 1:
        baseline.measure(batch)
    else:
        asyncio.run(Carried(target.url, target.shards, _SETTINGS).settle(batch))
    _control(pid, "-i", "off")
    _control(pid, "-d")


def _answers(url: str) -> bool:
    with contextlib.suppress(redis.RedisError), redis.Redis.from_url(url) as client:
        return bool(client.ping())
    return False


def _control(pid: int, *words: str) -> None:
    _run(["callgrind_control", *words, str(pid)])


def _annotated(path: Path) -> str:
    return _run(["callgrind_annotate", str(path)])


def _run(command: Sequence[str]) -> str:
    return subprocess.run(command, check=False, capture_output=True, text=True).stdout


if __name__ == "__main__":
    if shutil.which("valgrind") is None:
        sys.exit("valgrind is not installed: apt install valgrind")
    parser = argparse.ArgumentParser()
    parser.add_argument("--shards", type=int, default=1)
    shards = parser.parse_args().shards
    for size in _BATCHES:
        found = f"{instructions(size, shards):,} instructions for a complete call in commits of {size}"
        sys.stdout.write(f"{found}\n")
