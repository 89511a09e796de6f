"""Runs `invites` commands in this process, as an operator would."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, NamedTuple

from workers.cli.app import invoke

if TYPE_CHECKING:
    import pytest


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
