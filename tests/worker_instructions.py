"""How many instructions a worker executes for a complete call, within some 5 %, even on a busy machine.

Once for a backlog, in commits of up to 64 events, and once for one event at a time, as of a worker that is idle.

    python -m tests.worker_instructions [--calls N] [--functions FILE]

Valgrind counts them (Debian's package `valgrind`), which takes a minute. A call is that of `invites bench throughput`.
What the kernel does is not counted. `--functions` keeps the counts of the backlog by C function, for
`callgrind_annotate`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from invites.store.settings import Settings
from tests.support.waiting import wait_until_sync
from workers.lab.bench.baseline import Baseline
from workers.lab.bench.load import RING_MS, Load
from workers.lab.bench.target import Target, open_target
from workers.lab.child_process import ChildProcess

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from workers.lab.bench.load import Event

_CALLS: Final = 1_000
_IDLE_S: Final = 5.0
_PATIENCE_S: Final = 300.0
_TOTAL: Final = re.compile(r"^totals: (\d+)$", re.MULTILINE)


def instructions(calls: int, *, one_by_one: bool, functions: Path | None = None) -> int:
    """Instructions for one complete call with three devices, of so many, without those of a worker that is idle."""
    load, first = Load(calls, 3, 1), Load(64, 3, 1, name="first-")
    with tempfile.TemporaryDirectory() as folder, open_target(None) as target:
        target.make_groups()
        baseline = Baseline(target, Settings())
        baseline.register(load)
        baseline.register(first)
        counts = Path(folder, "counts")
        with _worker(target, counts) as worker:
            _settle(target, list(first.backlog()))
            began = time.monotonic()
            with _counting(worker):
                for part in [[event] for event in load.backlog()] if one_by_one else [list(load.backlog())]:
                    _settle(target, part)
            took = time.monotonic() - began
            with _counting(worker):
                time.sleep(_IDLE_S)
            busy, idle = (counts.with_suffix(f".{part}") for part in (1, 2))
            if functions is not None:
                shutil.copy(busy, functions)
            return round((_total(busy) - _total(idle) * took / _IDLE_S) / calls)


@contextlib.contextmanager
def _counting(worker: ChildProcess) -> Iterator[None]:
    """Count, and write the counts into a file of their own."""
    _control(worker, "-i", "on")
    yield
    _control(worker, "-i", "off")
    _control(worker, "-d")


def _total(counts: Path) -> int:
    return int(_TOTAL.findall(counts.read_text())[-1])


@contextlib.contextmanager
def _worker(target: Target, counts: Path) -> Iterator[ChildProcess]:
    """A worker in valgrind, which counts once it is told to."""
    file = counts.with_name("config.json")
    rules = {"ringTimeout": RING_MS, "maxRingTimeout": RING_MS, "claimAfter": 600_000}
    file.write_text(json.dumps({"http": {"port": 0}, "invites": rules, "redis": {"prefix": target.prefix}}))
    count = ["valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={counts}"]
    run = ["-m", "workers", "run", "--config", str(file), "--redis-url", target.url, "--log-level", "warning"]
    # With other hashes, dictionaries collide in other places.
    environment = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONPATH": str(Path(__file__).parents[1])}
    worker = ChildProcess([*count, sys.executable, *run], environment=environment)
    try:
        yield worker
        worker.terminate(patience_ms=60_000)
    finally:
        worker.stop()


def _settle(target: Target, events: Sequence[Event]) -> None:
    """Publish events, and wait until the worker has settled them."""
    settled = target.progress().settled + len(events)
    target.publish(events)
    wait_until_sync(lambda: target.progress().settled >= settled, "the events are settled", _PATIENCE_S)


def _control(worker: ChildProcess, *words: str) -> None:
    subprocess.run(["callgrind_control", *words, str(worker.pid)], check=True, capture_output=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--calls", type=int, default=_CALLS)
    parser.add_argument("--functions", type=Path)
    given = parser.parse_args()
    if shutil.which("valgrind") is None:
        sys.exit("valgrind is not installed: apt install valgrind")
    backlog = instructions(given.calls, one_by_one=False, functions=given.functions)
    sys.stdout.write(f"{backlog:,} instructions for a complete call of a backlog\n")
    alone = instructions(given.calls // 4, one_by_one=True)
    sys.stdout.write(f"{alone:,} instructions for a complete call, one event at a time\n")


if __name__ == "__main__":
    main()
