"""Log lines: one for each record, in both formats, whatever is logged."""

from __future__ import annotations

import io
import json
import logging
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator

import pytest

from invites import SERVICE, __version__
from invites.build import COMMIT
from invites.logs import messages
from invites.logs import setup as logs

_EVIL = 'x\n2025-01-01T00:00:00.000Z [info] forged\r\x1b[31m\u2028\u2029\x85\x00"\\ ümläut'


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """Logging is set up for the whole process: put back what was there."""
    root, hook, raising = logging.getLogger(), sys.excepthook, logging.raiseExceptions
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], sys.excepthook, logging.raiseExceptions = handlers, hook, raising
    root.setLevel(level)
    logging.captureWarnings(capture=False)


def _fail() -> None:
    raise ValueError(_EVIL)


def _log_evil() -> None:
    log = logging.getLogger("test")
    log.info("%s", _EVIL)
    messages.write([("left", _EVIL, _EVIL), ("invite", _EVIL, _EVIL, _EVIL, json.dumps(_EVIL))])
    try:
        _fail()
    except ValueError:
        log.exception("it failed: %s", _EVIL)


def test_json_is_one_object_a_line() -> None:
    out = io.StringIO()
    logs.set_up(logging.DEBUG, "json", out)
    _log_evil()
    lines = out.getvalue().split("\n")
    assert lines.pop() == ""
    assert len(out.getvalue().splitlines()) == len(lines) == 4
    found = [json.loads(line) for line in lines]
    assert {(line["service"], line["version"], line["commit"]) for line in found} == {
        (SERVICE, __version__, COMMIT)
    }
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"]) for line in found)
    assert [line["level"] for line in found] == ["info", "info", "info", "error"]
    assert found[0]["message"] == _EVIL
    assert found[1]["event"] == "left"
    assert found[1]["userId"] == _EVIL
    assert found[3]["exception"].startswith("Traceback")
    assert _EVIL in found[3]["exception"]
    assert "\x1b" not in out.getvalue()


def test_text_is_one_line_and_tracebacks_cannot_be_taken_for_records() -> None:
    out = io.StringIO()
    logs.set_up(logging.DEBUG, "text", out)
    _log_evil()
    lines = out.getvalue().splitlines()
    records = [line for line in lines if not line.startswith("    | ")]
    assert len(records) == 4
    assert all(
        re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z \[(info|error)\] ", line) for line in records
    )
    assert all(line.isprintable() for line in lines)
    assert any("ValueError" in line for line in lines)


def test_a_record_cannot_overwrite_what_each_line_says() -> None:
    out = io.StringIO()
    logs.set_up(logging.INFO, "json", out)
    extra = {"fields": {"service": "forged", "level": "debug", "shard": 3}}
    logging.getLogger("test").warning("hello", extra=extra)
    line = json.loads(out.getvalue())
    assert (line["service"], line["level"], line["shard"]) == (SERVICE, "warn", 3)


@pytest.mark.parametrize(
    ("level", "shown"),
    [
        ("debug", ["debug", "info", "warn", "error", "error"]),
        ("info", ["info", "warn", "error", "error"]),
        ("warn", ["warn", "error", "error"]),
        ("warning", ["warn", "error", "error"]),
        ("error", ["error", "error"]),
    ],
)
def test_levels(level: str, shown: list[str]) -> None:
    out = io.StringIO()
    logs.set_up(logs.LEVELS[level], "json", out)
    for number in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL):
        logging.getLogger("test").log(number, "hello")
        logging.getLogger("aiohttp.access").log(number - 10, "what libraries say is left out below warn")
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [line["level"] for line in lines if line["message"] == "hello"] == shown
    assert {line["level"] for line in lines if line["message"] != "hello"} <= {"warn", "error"}


def test_setting_up_twice_logs_once() -> None:
    out = io.StringIO()
    logs.set_up(logging.INFO, "text", io.StringIO())
    logs.set_up(logging.INFO, "text", out)
    logging.getLogger("test").info("hello")
    assert out.getvalue().count("hello") == 1


def test_warnings_are_records() -> None:
    out = io.StringIO()
    logs.set_up(logging.INFO, "json", out)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=False)
        logging.captureWarnings(capture=True)
        warnings.warn("be careful", stacklevel=1)
        logging.captureWarnings(capture=False)
    assert "be careful" in json.loads(out.getvalue())["message"]


def test_another_encoding_cannot_break_json_nor_can_an_uncaught_exception() -> None:
    script = (
        "import logging; from invites.logs import setup; setup.set_up(logging.INFO, 'json');"
        "logging.getLogger('test').info('ümläut \\ud800'); raise ValueError('first\\nsecond')"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        check=False,
        env={"PYTHONIOENCODING": "ascii", "PYTHONPATH": "."},
    )
    first, second = (json.loads(line) for line in ended.stderr.decode().splitlines())
    assert first["message"] == "ümläut \ud800"
    assert second["message"] == "Uncaught ValueError."
    assert second["exception"].endswith("ValueError: first\nsecond")
    assert ended.returncode == 1
