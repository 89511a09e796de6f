"""The benchmark's sippo-server: the fake one in its own process."""

from __future__ import annotations

import http.client
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from invites.sippo import ApiCall
from workers.lab.bench.target import BenchError
from workers.lab.child_process import ChildProcess
from workers.lab.fake_sippo import Directory, Fault

_START_S: Final = 10.0
_POLL_S: Final = 0.02
_LOOKUPS: Final = (ApiCall.GROUPS, ApiCall.PUSH_DEVICES, ApiCall.REACHABILITY)


class Sippo:
    """A running fake sippo-server; `wac` is the value of `invites.basic.wac` for it."""

    def __init__(self, wac: dict[str, Any]) -> None:
        self.wac = wac
        self._place = urlsplit(str(wac["address"])).netloc

    def lookups(self) -> int:
        """The number of lookups so far, without logins and pushes."""
        requests = msgspec.json.decode(self._ask("GET", "/fake-sippo"))["requests"]
        return sum(requests.get(call, 0) for call in _LOOKUPS)

    def fault(self, fault: Fault | None) -> None:
        """Make all lookups, and no other requests, fail this way; None ends that."""
        self._ask("DELETE", "/fake-sippo/faults")
        for call in _LOOKUPS if fault is not None else ():
            self._ask("POST", "/fake-sippo/faults", {"fault": fault, "call": call})

    def _ask(self, method: str, path: str, body: object = None) -> bytes:
        connection = http.client.HTTPConnection(self._place, timeout=_START_S)
        try:
            connection.request(method, path, None if body is None else msgspec.json.encode(body))
            answer = connection.getresponse()
            return answer.read()
        finally:
            connection.close()


@contextmanager
def open_sippo(directory: Directory) -> Iterator[Sippo]:
    """Run a fake sippo-server with this directory during the context. Raises `BenchError`."""
    folder = Path(tempfile.mkdtemp(prefix="invites-fake-sippo-"))
    file = folder / "directory.json"
    try:
        file.write_bytes(msgspec.json.encode(directory))
        command = [sys.executable, "-m", "workers.lab.fake_sippo", "--directory", str(file), "--port", "0"]
        # The fake sippo-server imports the same packages as this process, installed or not.
        home = Path(__file__).resolve().parents[3]
        process = ChildProcess(command, environment={**os.environ, "PYTHONPATH": str(home)})
    except OSError:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    try:
        yield Sippo(_await_wac(process))
    finally:
        process.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _await_wac(process: ChildProcess) -> dict[str, Any]:
    deadline = time.monotonic() + _START_S
    while process.running() and time.monotonic() < deadline:
        try:
            wac: dict[str, Any] = msgspec.json.decode(process.output())
        except msgspec.DecodeError:
            time.sleep(_POLL_S)
        else:
            return wac
    raise BenchError(f"The fake sippo-server does not start: {process.output() or 'it printed nothing'}")
