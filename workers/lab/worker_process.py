"""Real worker processes for the demo, the benchmark and the tests, started as an operator would."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from workers.lab.child_process import ChildProcess


def start_worker(
    url: str, configuration: Mapping[str, object], *, log_level: str = "warning"
) -> ChildProcess:
    """Start `invites run` on a server in a process of its own and return at once.

    `configuration` is what would stand in config.json. The worker's HTTP server takes a free port, so that
    several can run on one machine. `terminate` lets it drain; `output` is what it logs. It ends with us.
    """
    directory = Path(tempfile.mkdtemp(prefix="invites-worker-"))
    file = directory / "config.json"
    file.write_bytes(msgspec.json.encode({"http": {"port": 0}, **configuration}))
    # The same packages as here, installed or not: the worker runs in a directory of its own.
    home = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, (home, os.environ.get("PYTHONPATH", ""))))
    command = [sys.executable, "-m", "workers", "run", "--config", str(file), "--redis-url", url]
    try:
        return ChildProcess(
            [*command, "--log-level", log_level],
            directory=directory,
            environment={**os.environ, "PYTHONPATH": path},
        )
    except OSError:
        shutil.rmtree(directory, ignore_errors=True)
        raise


def configuration_in(file: Path | None) -> dict[str, Any]:
    """What stands in a configuration file that has been checked, to hand it on to workers; {} without a file."""
    return {} if file is None else dict(json.loads(file.read_text("utf-8-sig")))
