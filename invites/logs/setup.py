"""Sets up logging: one line per record, as text or as JSON, safe against any content of events.

A record may have `fields` (`extra={"fields": {…}}`), which appear in JSON only.
"""

from __future__ import annotations

import io
import json
import logging
import sys
import time
import traceback
from typing import TYPE_CHECKING, Final, Literal

from invites import SERVICE, __version__
from invites.build import COMMIT
from invites.logs.personal import is_shown
from invites.values.printable import escape

if TYPE_CHECKING:
    from types import TracebackType
    from typing import TextIO

Format = Literal["text", "json"]

LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
_NAMES: Final = {
    logging.DEBUG: "debug",
    logging.INFO: "info",
    logging.WARNING: "warn",
    logging.ERROR: "error",
    logging.CRITICAL: "error",
}
_PROCESS: Final[dict[str, str]] = {}
# Libraries whose "info" and "debug" records only help their authors.
_TALKATIVE: Final = ("aiohttp", "asyncio", "redis")


def set_up(level: int = logging.INFO, kind: Format = "text", stream: TextIO | None = None) -> None:
    """Send all log records, warnings and uncaught exceptions to `stream` (default: stderr), one line each."""
    stream = sys.stderr if stream is None else stream
    if isinstance(stream, io.TextIOWrapper):
        # In another encoding, missing characters would become \xNN, which is not valid in JSON.
        stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines() if kind == "json" else TextLines())
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level)
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
    logging.captureWarnings(capture=True)
    logging.raiseExceptions = False  # would print tracebacks between the lines
    sys.excepthook = _log_uncaught
    _PROCESS.clear()


def identify(**fields: str) -> None:
    """Add fields to each JSON line of this process, such as the name of the worker."""
    _PROCESS.update(fields)


def is_json() -> bool:
    """Whether the lines show the `fields` of records."""
    return any(isinstance(handler.formatter, JsonLines) for handler in logging.getLogger().handlers)


def _log_uncaught(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, traceback)
        return
    logging.getLogger("invites").critical("Uncaught %s.", kind.__name__, exc_info=(kind, error, traceback))


class _Lines(logging.Formatter):
    """The common part of both formats: the time in UTC with ms, and tracebacks."""

    def __init__(self) -> None:
        super().__init__()
        self._second = -1
        self._until_second = ""

    def _time(self, record: logging.LogRecord) -> str:
        second = int(record.created)
        if second != self._second:
            self._second = second
            self._until_second = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._until_second}.{int(record.msecs):03d}Z"

    def _message(self, record: logging.LogRecord) -> str:
        """The text. An error may quote an event, so a log without persons has its type alone."""
        if is_shown() or not isinstance(record.args, tuple):
            return record.getMessage()
        return str(record.msg) % tuple(
            type(value).__name__ if isinstance(value, BaseException) else value for value in record.args
        )

    def _traceback(self, record: logging.LogRecord) -> str:
        if record.exc_info and record.exc_info[0] is not None:
            if not is_shown():
                lines = traceback.format_tb(record.exc_info[2])
                return "".join([*lines, record.exc_info[0].__name__])
            return self.formatException(record.exc_info)
        return record.exc_text or ""


class TextLines(_Lines):
    """`2025-11-22T20:15:00.123Z [info] message`. A traceback follows on lines that start with `    | `."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        level = _NAMES.get(record.levelno, "info")
        line = f"{self._time(record)} [{level}] {escape(self._message(record))}"
        lines = self._traceback(record)
        return "\n    | ".join([line, *map(escape, lines.split("\n"))]) if lines else line


class JsonLines(_Lines):
    """One object per line: `time, level, service, version, commit, message, logger`, the fields, `exception`."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        line = {
            "time": self._time(record),
            "level": _NAMES.get(record.levelno, "info"),
            "service": SERVICE,
            "version": __version__,
            "commit": COMMIT,
            "message": self._message(record),
            "logger": record.name,
            **_PROCESS,
        }
        line = {**line, **getattr(record, "fields", {}), **line}
        lines = self._traceback(record)
        if lines:
            line["exception"] = lines
        return escape(json.dumps(line, ensure_ascii=False, separators=(",", ":"), default=str))
