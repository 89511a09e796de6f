"""Starts real worker processes for the demo, the benchmark and the tests."""

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
    url: str,
    configuration: Mapping[str, object],
    *,
    log_level: str = "warning",
    environment: Mapping[str, str] | None = None,
) -> ChildProcess:
    """Start `invites run` in a child process and return at once.

    `configuration` is the content of config.json. The worker's HTTP server uses a free port unless it sets another one.
    The `environment` is that of this process by default. `terminate` lets the worker drain; `output` is its log.
    """
    configuration = {"http": {"port": 0}, **configuration}
    return start_command("run", url, configuration, log_level=log_level, environment=environment)


def start_command(
    name: str,
    url: str,
    configuration: Mapping[str, object],
    *,
    log_level: str,
    environment: Mapping[str, str] | None = None,
) -> ChildProcess:
    """Start a command that runs until it is stopped, in a child process, and return at once."""
    directory = Path(tempfile.mkdtemp(prefix=f"invites-{name}-"))
    file = directory / "config.json"
    file.write_bytes(msgspec.json.encode(configuration))
    # The process runs in another directory, but with the same packages, installed or not.
    home = str(Path(__file__).resolve().parents[2])
    environment = os.environ if environment is None else environment
    path = os.pathsep.join(filter(None, (home, environment.get("PYTHONPATH", ""))))
    command = [sys.executable, "-m", "workers", name, "--config", str(file), "--redis-url", url]
    try:
        return ChildProcess(
            [*command, "--log-level", log_level],
            directory=directory,
            environment={**environment, "PYTHONPATH": path},
        )
    except OSError:
        shutil.rmtree(directory, ignore_errors=True)
        raise


def configuration_in(file: Path | None) -> dict[str, Any]:
    """The content of a configuration file that has been checked, to pass it to workers; {} without a file."""
    return {} if file is None else dict(json.loads(file.read_text("utf-8-sig")))
