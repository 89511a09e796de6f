"""Runs `invites` commands as an operator would: in this process, or in one of their own."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple, Self

from workers.cli.app import invoke

if TYPE_CHECKING:
    import pytest

_ROOT = Path(__file__).resolve().parents[2]


class Ended(NamedTuple):
    """How a command ended, and what it printed."""

    status: int
    out: str
    err: str


class Commands:
    """The command line; `on_server` passes `url` to the command."""

    def __init__(self, capsys: pytest.CaptureFixture[str], url: str) -> None:
        self.url = url
        self._capsys = capsys

    def run(self, *arguments: str) -> Ended:
        """Run one command, then undo what it did to the logging of this process."""
        root, hook, raising = logging.getLogger(), sys.excepthook, logging.raiseExceptions
        handlers, level = root.handlers[:], root.level
        self._capsys.readouterr()
        try:
            status = invoke(list(arguments))
        finally:
            root.handlers[:], sys.excepthook, logging.raiseExceptions = handlers, hook, raising
            root.setLevel(level)
            logging.captureWarnings(capture=False)
        return Ended(status, *self._capsys.readouterr())

    def on_server(self, *arguments: str) -> Ended:
        """Run one command with `--redis-url`."""
        return self.run(*arguments, "--redis-url", self.url)


class Running:
    """A command in a process of its own, with the lines that it prints and those of its log; killed at the end."""

    def __init__(self, *words: str, most_files: int = 1024, before: str = ":") -> None:
        """Start it, after the shell command `before`."""
        self.lines: list[str] = []
        self.log: list[str] = []
        limited = ["/bin/sh", "-c", f'{before}; ulimit -n {most_files}; exec "$@"', "limited"]
        self._process = subprocess.Popen(
            [*limited, sys.executable, "-m", "workers", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=_ROOT,
        )
        outputs = (self._process.stdout, self.lines), (self._process.stderr, self.log)
        self._readers = [threading.Thread(target=_read, args=each) for each in outputs]
        for reader in self._readers:
            reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        for reader in self._readers:
            reader.join()
        with self._process:
            pass

    def send(self, number: int) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    def end(self, number: int) -> int:
        """Send a signal; the exit status."""
        self.send(number)
        return self.wait()

    def wait(self) -> int:
        """The exit status."""
        status = self._process.wait(20)
        for reader in self._readers:
            reader.join()
        return status


def _read(output: IO[bytes], lines: list[str]) -> None:
    for line in output:
        lines.append(line.decode().rstrip("\n"))  # noqa: PERF401 - the test reads them meanwhile
