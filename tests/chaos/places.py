"""Where the calls are played, and what happens there to the servers."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Final, Protocol

from invites.keys import Keys
from tests.support.servers.cluster import Cluster
from tests.support.servers.node import LASTING, Node, wait_for
from tests.support.servers.replicated import Replicated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_EVENTS: Final = Keys().events
_MARK: Final = Keys().base + "mark"
_LOST_S: Final = 0.2  # so much of the primary's work does not reach the replica
_PAUSE_S: Final = 0.3


class Place(Protocol):
    """Servers under one URL.

    `loses` says that nobody must publish while they are harmed: what a dying server has taken is then not known, or
    not kept. What is written between `begin_to_lose` and `harm` is lost where there are replicas. `harm` returns, with
    a word for what it did, when commands are served again, `repair` when it may be called once more.
    """

    @property
    def url(self) -> str: ...
    @property
    def loses(self) -> bool: ...
    def begin_to_lose(self) -> None: ...
    def harm(self) -> str: ...
    def repair(self) -> None: ...


class _Single:
    """A server that is killed and started again with all its data."""

    loses = True

    def __init__(self) -> None:
        self._node = Node(LASTING)
        self.url = self._node.url

    def begin_to_lose(self) -> None:
        pass

    def harm(self) -> str:
        self._node.kill()
        self._node.start()
        return "restart"

    def repair(self) -> None:
        pass

    @contextlib.contextmanager
    def open(self) -> Iterator[Place]:
        with self._node:
            yield self


class _WithReplicas:
    """The primary dies, and its last commits with it: another server takes its place without them.

    With `hangs` it does not die, but says nothing any more, and all connections to it stay.
    """

    loses = True

    def __init__(self, servers: Replicated | Cluster, *, hangs: bool = False) -> None:
        self._servers = servers
        self._hangs = hangs
        self._pair: list[Node] = []

    @property
    def url(self) -> str:
        return self._servers.url

    def begin_to_lose(self) -> None:
        servers = self._servers
        if isinstance(servers, Replicated):
            primary, replica = servers.primary, servers.replica
        else:
            primary = servers.owner(_EVENTS)
            replica = servers.replica_of(primary)
        wait_for(lambda: primary.replicated(_MARK), "the replica has all that was published")
        replica.freeze()
        # What has been sent to it already it would read from its socket later.
        primary.command("CLIENT", "KILL", "TYPE", "replica")
        self._pair = [primary, replica]

    def harm(self) -> str:
        primary, replica = self._pair
        try:
            time.sleep(_LOST_S)
            if self._hangs:
                primary.freeze()
            else:
                primary.kill()
        finally:
            replica.thaw()
        if isinstance(self._servers, Replicated):
            self._servers.wait_until_served(primary)
        else:
            self._servers.wait_until_served(_EVENTS, primary)
        return "fail-over"

    def repair(self) -> None:
        primary, _ = self._pair
        if self._hangs:
            primary.thaw()
        else:
            primary.start()
        self._servers.wait_until_follower(primary)

    @contextlib.contextmanager
    def open(self) -> Iterator[Place]:
        with self._servers:
            yield self


class _Moving:
    """The shard moves from node to node, while everybody goes on."""

    loses = False

    def __init__(self, *, atomically: bool) -> None:
        self._servers = Cluster(replicas=False)
        self._atomically = atomically

    @property
    def url(self) -> str:
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


PLACES: Final[dict[str, Callable[[], contextlib.AbstractContextManager[Place]]]] = {
    "single": lambda: _Single().open(),
    "sentinel": lambda: _WithReplicas(Replicated()).open(),
    "sentinel-hanging": lambda: _WithReplicas(Replicated(), hangs=True).open(),
    "cluster": lambda: _WithReplicas(Cluster()).open(),
    "cluster-hanging": lambda: _WithReplicas(Cluster(), hangs=True).open(),
    "moving": lambda: _Moving(atomically=False).open(),
    "moving-atomically": lambda: _Moving(atomically=True).open(),
}
"""A server that is killed and restarted; sentinels and a cluster whose primary dies or hangs; a shard that moves."""
