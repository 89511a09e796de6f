"""One server that everybody keeps using while it is full, refuses the workers, or is hard for them to reach.

Nothing is lost there, so publishers continue, and publish refused events again.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from typing import Final, Self

from tests.support.proxy import Proxy
from tests.support.servers.clock import Clock
from tests.support.servers.node import LASTING, Node

_SHORT_S: Final = 1.5
_CUT_S: Final = (
    2.5  # longer than `claimAfter`: the other workers claim the entries of the one without network
)
_DELAY_S: Final = 0.03
# Ahead; then behind by more than `claimAfter`, but by less than 5 s: up to there the order of ids holds.
_STEPS_S: Final = (3.0, -4.0, 1.0)
_USERS: Final = ("people", "worker")
_DENIED: Final = (
    ("worker", "-fcall -evalsha"),
    ("people", "-xadd"),
    ("worker", "-xreadgroup"),
    ("people", "-xread"),
    ("worker", "-xadd"),
)


class _Troubled:
    """The server, and the common part of all troubles."""

    loses = False
    restarts = False
    blinds = False
    repeat = False
    steps = False

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        self._node = Node(LASTING, environment=environment)
        self.url = self._node.url
        self.worker_urls: Sequence[str] = [self.url]
        self.at_worst: Callable[[], None] = lambda: None

    def begin_to_lose(self) -> None:
        pass

    def harm(self) -> str:
        raise NotImplementedError

    def repair(self) -> None:
        pass

    @contextlib.contextmanager
    def open(self) -> Iterator[Self]:
        with self._node:
            yield self


class Full(_Troubled):
    """The server has no memory left for a while, and a worker is restarted meanwhile."""

    restarts = True

    def harm(self) -> str:
        """Let it be full."""
        self._node.command("CONFIG", "SET", "maxmemory", self._node.command("INFO", "memory")["used_memory"])
        try:
            time.sleep(_SHORT_S)
        finally:
            self._node.command("CONFIG", "SET", "maxmemory", 0)
        return "full server"


class Denied(_Troubled):
    """The server user of the workers, or that of publishers and gateways, loses permissions, and gets them back.

    The first time it is the workers' user, until they know it.
    """

    blinds = True

    def __init__(self) -> None:
        super().__init__()
        own = self.url
        self.url, worker = (own.replace("redis://", f"redis://{user}:secret@") for user in _USERS)
        self.worker_urls = [worker]
        self._rights = itertools.cycle(_DENIED)
        self._is_first = True

    def harm(self) -> str:
        """Take permissions away."""
        user, rights = next(self._rights)
        self._node.command("ACL", "SETUSER", user, *rights.split())
        try:
            if self._is_first:
                self.at_worst()
            else:
                time.sleep(_SHORT_S)
        finally:
            self._node.command("ACL", "SETUSER", user, "+@all")
        self._is_first = False
        return f"ACL {user} {rights}"

    @contextlib.contextmanager
    def open(self) -> Iterator[Self]:
        with self._node:
            for user in _USERS:
                self._node.command("ACL", "SETUSER", user, "on", ">secret", "~*", "&*", "+@all")
            yield self


class Steps(_Troubled):
    """The clock of the server steps."""

    steps = True

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock.environment)
        self._clock = clock
        self._steps_s = itertools.cycle(_STEPS_S)

    def harm(self) -> str:
        """Step, and wait for the consequences."""
        step_s = next(self._steps_s)
        self._clock.step(step_s)
        time.sleep(_SHORT_S)
        return "clock ahead" if step_s > 0 else "clock back"

    @contextlib.contextmanager
    def open(self) -> Iterator[Self]:
        with self._clock, self._node:
            yield self


class Network(_Troubled):
    """Every second worker is behind a network that is cut, or slow; the publishers are not."""

    def __init__(self) -> None:
        super().__init__()
        self._proxy = Proxy(self._node.port)
        self._loop = asyncio.new_event_loop()
        self._cuts = itertools.cycle((True, False))

    def harm(self) -> str:
        """Cut the network, or slow it down."""
        if next(self._cuts):
            self._run(self._proxy.down())
            time.sleep(_CUT_S)
            self._run(self._proxy.up())
            return "cut network"
        self._proxy.delay_s = self._proxy.request_delay_s = _DELAY_S
        time.sleep(_CUT_S)
        self._proxy.delay_s = self._proxy.request_delay_s = 0.0
        return "slow network"

    @contextlib.contextmanager
    def open(self) -> Iterator[Self]:
        thread = threading.Thread(target=self._loop.run_forever)
        with self._node:
            self._proxy = Proxy(self._node.port)
            thread.start()
            try:
                self._run(self._proxy.up())
                self.worker_urls = [self._proxy.url, self.url]
                yield self
                self._run(self._proxy.down())
            finally:
                self._loop.call_soon_threadsafe(self._loop.stop)
                thread.join()
                self._loop.close()

    def _run(self, work: Coroutine[None, None, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result()
