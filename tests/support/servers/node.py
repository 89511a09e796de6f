"""One server process that keeps its port and its data when it dies."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.support.servers.binaries import SERVER
from tests.support.waiting import TIMEOUT_S, wait_until_sync
from workers.lab.child_process import ChildProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

HOST: Final = "127.0.0.1"
# Below the ports that systems give to connections: a client of a dead server must not get its port as its own, and
# reach itself.
_PORTS: Final = (10_000, 30_000)
_ANSWER_S: Final = 5.0
_LOAD_S: Final = 60.0  # after a long run the file is large
_FILE: Final = "sentinel.conf"

LASTING: Final = {"appendonly": "yes", "appendfsync": "no", "save": ""}
"""The server writes the append-only file before it replies, so every answered write survives SIGKILL. Fsync would only
help if the machine died."""


class Node:
    """A server, or a sentinel, which needs a configuration file because it keeps its state there."""

    def __init__(
        self,
        options: Mapping[str, str] | None = None,
        *,
        sentinel: bool = False,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="invites-node-"))
        self.port = free_port()
        self.client: Any = redis.Redis(
            host=HOST,
            port=self.port,
            decode_responses=True,
            socket_timeout=_ANSWER_S,
            retry=Retry(NoBackoff(), 0),
        )
        self._options = {"bind": HOST, "port": str(self.port), "dir": str(self.directory), **(options or {})}
        self._sentinel = sentinel
        self._environment = environment
        self._process: ChildProcess | None = None
        self._frozen = False

    @property
    def url(self) -> str:
        """Where it listens, also after a restart."""
        return f"redis://{HOST}:{self.port}/0"

    @property
    def running(self) -> bool:
        """Whether it has been started, and neither killed nor frozen since."""
        return self._process is not None and not self._frozen

    def configure(self, text: str) -> None:
        """Write a sentinel's configuration."""
        (self.directory / _FILE).write_text(text + "\n")

    def start(self) -> None:
        """Start with the data in the files; returns when they have been loaded."""
        command = [str(SERVER)]
        if self._sentinel:
            command += [str(self.directory / _FILE), "--sentinel"]
        for name, value in {**self._options, "loglevel": "warning"}.items():
            command += [f"--{name}", value]
        self._process = ChildProcess(command, environment=self._environment)
        wait_for(self.answers, "the server has loaded its data", _LOAD_S)

    def kill(self) -> None:
        """SIGKILL."""
        process, self._process = self._process, None
        self._frozen = False
        if process is not None:
            process.stop()
        self.client.close()

    def freeze(self) -> None:
        """Freeze it; its connections stay."""
        self._signal(signal.SIGSTOP)
        self._frozen = True

    def thaw(self) -> None:
        """Thaw it."""
        self._signal(signal.SIGCONT)
        self._frozen = False

    def answers(self) -> bool:
        """Whether it answers, and is not still loading."""
        assert self._process is None or self._process.running(), self._process.output()
        return bool(self.client.ping())

    def command(self, *words: str | int) -> Any:
        """The reply to one command."""
        return self.client.execute_command(*words)

    def is_primary(self) -> bool:
        """Whether it is no replica."""
        return bool(self.command("ROLE")[0] == "master")

    def follows(self) -> bool:
        """Whether it is a replica and gets its primary's writes."""
        role = self.command("ROLE")
        return bool(role[0] == "slave" and role[3] == "connected")

    def replicated(self, key: str) -> bool:
        """Whether a replica has all writes of this primary so far; `key` is one that it may write."""
        # WAIT covers only the writes of its own connection.
        with self.client.pipeline(transaction=False) as pipe:
            pipe.execute_command("SET", key, "")
            pipe.execute_command("DEL", key)
            pipe.execute_command("WAIT", 1, 1_000)
            return bool(pipe.execute()[-1] == 1)

    def remove(self) -> None:
        """Kill it and remove its files."""
        self.kill()
        shutil.rmtree(self.directory)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

    def _signal(self, number: int) -> None:
        assert self._process is not None
        os.kill(self._process.pid, number)


def wait_for(condition: Callable[[], bool], description: str, timeout_s: float = TIMEOUT_S) -> None:
    """Wait until the condition holds; a server that does not answer counts as not yet."""

    def holds() -> bool:
        with contextlib.suppress(redis.RedisError):
            return condition()
        return False

    wait_until_sync(holds, description, timeout_s)


def free_port() -> int:
    """A port of this machine that nobody listens on, and that this process alone gets until it ends."""
    while True:
        port = random.randrange(*_PORTS)
        with (
            socket.socket() as probe,
            socket.socket(type=socket.SOCK_DGRAM) as mark,
            contextlib.suppress(OSError),
        ):
            mark.bind((HOST, port))  # another process that looks for a port cannot bind it
            probe.bind((HOST, port))
            mark.detach()
            return port
