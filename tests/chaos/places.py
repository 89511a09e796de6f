"""The places where calls are played, and the harm to their servers."""

from __future__ import annotations

import contextlib
import random
import time
from typing import TYPE_CHECKING, Final, Protocol

from invites.keys import Keys
from tests.chaos.troubled import Denied, Full, Network, Steps
from tests.support.servers.clock import Clock
from tests.support.servers.cluster import Cluster
from tests.support.servers.node import LASTING, Node, wait_for
from tests.support.servers.replicated import Replicated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_EVENTS: Final = Keys().events
_LOST_S: Final = 0.2  # the last part of the primary's work, which does not reach the replica
_PAUSE_S: Final = 0.3


class Place(Protocol):
    """Servers under one URL.

    `loses` says that nobody must publish while they are harmed: what a dying server has taken is then not known, or
    not kept. What is written between `begin_to_lose` and `harm` is lost where there are replicas. `harm` returns, with
    a word for what it did, when commands are served again, `repair` when it may be called once more.

    `worker_urls` are the same servers as workers reach them, each worker by the next one. While a place is harmed that
    `restarts`, a worker is replaced. Where people `repeat` themselves they go on while servers die, and some of what
    they say is lost. While nothing can be committed a place calls `at_worst`, which returns when no worker says that it
    is ready; one that `blinds` them leaves servers and connections as they are. Where it `steps` a clock, deadlines
    move.
    """

    at_worst: Callable[[], None]

    @property
    def url(self) -> str: ...
    @property
    def worker_urls(self) -> Sequence[str]: ...
    @property
    def loses(self) -> bool: ...
    @property
    def restarts(self) -> bool: ...
    @property
    def blinds(self) -> bool: ...
    @property
    def repeat(self) -> bool: ...
    @property
    def steps(self) -> bool: ...
    def begin_to_lose(self) -> None: ...
    def harm(self) -> str: ...
    def repair(self) -> None: ...


class _Harmed:
    """The common part of most places."""

    loses = True
    restarts = False
    blinds = False
    repeat = False
    steps = False
    url: str

    def __init__(self) -> None:
        self.at_worst: Callable[[], None] = lambda: None

    @property
    def worker_urls(self) -> Sequence[str]:
        return [self.url]


class _Single(_Harmed):
    """A server that is killed, and started again with all its data."""

    def __init__(self) -> None:
        super().__init__()
        self._node = Node(LASTING)
        self.url = self._node.url

    def begin_to_lose(self) -> None:
        pass

    def harm(self) -> str:
        self._node.kill()
        self.at_worst()
        self._node.start()
        return "restart"

    def repair(self) -> None:
        pass

    @contextlib.contextmanager
    def open(self) -> Iterator[Place]:
        with self._node:
            yield self


class _WithReplicas(_Harmed):
    """The primary of any shard dies, and its last commits with it: another server takes its place without them.

    With `hangs` it does not die, but stops answering, and all connections to it stay.
    """

    def __init__(self, servers: Replicated | Cluster, shards: int, seed: int, *, hangs: bool = False) -> None:
        super().__init__()
        self._servers = servers
        self._shards = [Keys(shard=number, shards=shards) for number in range(shards)]
        self._random = random.Random(seed)
        self._hangs = hangs
        self._keys = self._shards[0]
        self._pair: list[Node] = []

    @property
    def url(self) -> str:  # type: ignore[override] # the servers have ports once they are started
        return self._servers.url

    def begin_to_lose(self) -> None:
        servers = self._servers
        self._keys = self._random.choice(self._shards)
        if isinstance(servers, Replicated):
            primary, replica = servers.primary, servers.replica
        else:
            primary = servers.owner(self._keys.events)
            replica = servers.replica_of(primary)
        wait_for(
            lambda: primary.replicated(self._keys.base + "mark"), "the replica has all that was published"
        )
        replica.freeze()
        # Otherwise it would later read from its socket what has already been sent.
        primary.command("CLIENT", "KILL", "TYPE", "replica")
        self._pair = [primary, replica]

    def harm(self) -> str:
        primary, replica = self._pair
        try:
            time.sleep(_LOST_S)
            if isinstance(self._servers, Replicated):
                self._servers.allow_fail_over()
            if self._hangs:
                primary.freeze()
            else:
                primary.kill()
            if isinstance(self._servers, Replicated):
                self.at_worst()
        finally:
            replica.thaw()
        if isinstance(self._servers, Cluster):
            self.at_worst()
            # A replica that hangs as long as its primary would give way to it later.
            self._servers.allow_fail_over(replica)
        if isinstance(self._servers, Replicated):
            self._servers.wait_until_served(primary)
        else:
            self._servers.wait_until_served(self._keys.events, primary)
        self._servers.forbid_fail_over()
        return "fail-over"

    def repair(self) -> None:
        primary = self._pair[0]
        if self._hangs:
            primary.thaw()
        else:
            primary.start()
        if self.loses:
            self._servers.forbid_fail_over()
        self._servers.wait_until_follower(primary)

    @contextlib.contextmanager
    def open(self) -> Iterator[Place]:
        with self._servers:
            if self.loses:
                # On a busy machine a primary may seem dead. Then nobody keeps the events that its replica lacks.
                self._servers.forbid_fail_over()
            yield self


class _GoingOn(_WithReplicas):
    """The primary of any shard dies while everybody continues. Writes that the replica lacks are lost."""

    loses = False
    repeat = True

    def harm(self) -> str:
        servers = self._servers
        key = self._random.choice(self._shards).events
        if isinstance(servers, Replicated):
            primary, replica = servers.primary, servers.replica
        else:
            primary = servers.owner(key)
            replica = servers.replica_of(primary)
        primary.kill()
        replica.freeze()
        try:
            self.at_worst()
        finally:
            replica.thaw()
        self._pair = [primary]
        if isinstance(servers, Replicated):
            servers.wait_until_served(primary)
        else:
            servers.wait_until_served(key, primary)
        return "fail-over"


class _Moving(_Harmed):
    """The shard moves from node to node while everybody continues."""

    loses = False

    def __init__(self, *, atomically: bool) -> None:
        super().__init__()
        self._servers = Cluster(replicas=False)
        self._atomically = atomically

    @property
    def url(self) -> str:  # type: ignore[override] # the servers have ports once they are started
        return self._servers.url

    def begin_to_lose(self) -> None:
        pass

    def harm(self) -> str:
        if self._atomically:
            self._servers.move_atomically(_EVENTS)
            return "atomic move"
        self._servers.move_by_keys(_EVENTS, _PAUSE_S)
        return "move by keys"

    def repair(self) -> None:
        pass

    @contextlib.contextmanager
    def open(self) -> Iterator[Place]:
        with self._servers:
            yield self


PLACES: Final[dict[str, Callable[[int, int], contextlib.AbstractContextManager[Place]]]] = {
    "single": lambda _shards, _seed: _Single().open(),
    "full": lambda _shards, _seed: Full().open(),
    "denied": lambda _shards, _seed: Denied().open(),
    "network": lambda _shards, _seed: Network().open(),
    "clock": lambda _shards, _seed: Steps(Clock()).open(),
    "sentinel": lambda shards, seed: _WithReplicas(Replicated(), shards, seed).open(),
    "sentinel-hanging": lambda shards, seed: _WithReplicas(Replicated(), shards, seed, hangs=True).open(),
    "cluster": lambda shards, seed: _WithReplicas(Cluster(), shards, seed).open(),
    "cluster-hanging": lambda shards, seed: _WithReplicas(Cluster(), shards, seed, hangs=True).open(),
    "sentinel-going-on": lambda shards, seed: _GoingOn(Replicated(), shards, seed).open(),
    "cluster-going-on": lambda shards, seed: _GoingOn(Cluster(), shards, seed).open(),
    "moving": lambda _shards, _seed: _Moving(atomically=False).open(),
    "moving-atomically": lambda _shards, _seed: _Moving(atomically=True).open(),
}
"""Servers that are killed, full, unreachable or fail over, and shards that move. Each takes the number of shards and a
seed."""
