"""`invites demo` in a process of its own, and a search for leftovers."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.support.waiting import wait_until_sync

_ROOT = Path(__file__).resolve().parents[2]


@contextlib.contextmanager
def demo(folder: Path, *options: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """The demo in a process of its own, with `folder` for its temporary files."""
    with subprocess.Popen(
        [sys.executable, "-m", "workers", "demo", *options],
        cwd=_ROOT,
        env={**os.environ, "TMPDIR": str(folder), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def using(folder: Path) -> list[str]:
    """The command lines of running processes that name the folder."""
    running = []
    if Path("/proc/self/cmdline").exists():  # a slim Linux has no ps, macOS has no /proc
        for file in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                running.append(file.read_text(errors="replace"))
    else:
        running = subprocess.check_output(["ps", "-axww", "-o", "command="], text=True).splitlines()
    return [line for line in running if str(folder) in line]


def nothing_is_left(folder: Path) -> None:
    wait_until_sync(lambda: not using(folder), "no process of the demo runs")
    wait_until_sync(lambda: not list(folder.iterdir()), "no file of the demo is left")
