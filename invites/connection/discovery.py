"""Locates the primary before each connection, so that a client follows it through a fail-over.

All keys of a shard share a hash tag. On a cluster they are in one slot on one node, so a client of a shard only needs
to find that node. It can then use it like a single server: pipelines, transactions, scripts, blocking reads. With
Sentinel, the client asks the sentinels instead.

Redirections are not followed. MOVED means that the node did not execute the command: the caller handles it like a
lost connection, and the next command goes to the node that MOVED names. ASK means that a slot is being moved and its
keys are on two nodes: a redirected script would miss some of them, so callers wait until the move is over.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

from redis import exceptions

from invites.connection.url import shown

if TYPE_CHECKING:
    from collections.abc import Iterable

    from invites.connection.url import Address


_UNKNOWN = "?"  # the name of a node that other nodes cannot reach or do not know yet


class Ask(Protocol):
    """Sends one command to the server at an address and returns its reply. Raises redis exceptions."""

    async def __call__(self, address: Address, *command: str) -> Any:  # noqa: ANN401, D102 - any reply
        ...


class EndpointLocator(ABC):
    """Locates the server for the connections of one client.

    `generation` counts invalidations. A connection of an earlier generation reconnects before its next use: after a
    fail-over it is still connected to the former primary, which answers READONLY to every write.
    """

    def __init__(self) -> None:
        self.generation = 0

    @abstractmethod
    async def find(self) -> Address:
        """The address of the primary. Raises redis exceptions when it is unknown."""

    def invalidate(self, generation: int, error: Exception, asked: Address) -> None:
        """A connection of this generation got an error from `asked` that another server might not give."""
        if generation == self.generation:
            self.generation += 1
            self._invalidated(error, asked)

    def _invalidated(self, error: Exception, asked: Address) -> None:  # noqa: B027 - a fixed address learns nothing
        """Use what the error says about the next address."""


class FixedLocator(EndpointLocator):
    """One fixed address. A host name or a proxy there may point to another server after a fail-over."""

    def __init__(self, address: Address) -> None:
        super().__init__()
        self._address = address

    async def find(self) -> Address:
        """The address."""
        return self._address


class SentinelLocator(EndpointLocator):
    """Asks sentinels for the primary of their service."""

    def __init__(self, sentinels: Iterable[Address], service: str, ask: Ask) -> None:
        super().__init__()
        self._sentinels = deque(sentinels)
        self._service = service
        self._ask = ask

    async def find(self) -> Address:
        """The answer of the first sentinel that knows the service. It is asked first the next time."""
        failures = _Failures()
        for _ in range(len(self._sentinels)):
            sentinel = self._sentinels[0]
            try:
                primary = await self._ask(sentinel, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._service)
            except (exceptions.RedisError, OSError) as error:
                failures.add(sentinel, error)
            else:
                if primary is not None:
                    return primary[0].decode(), int(primary[1])
                failures.add(sentinel, "does not know the service")
            self._sentinels.rotate(-1)
        raise failures.error(f"no sentinel names the primary of {self._service!r}")

    def _invalidated(self, error: Exception, asked: Address) -> None:
        del error, asked
        # An isolated sentinel keeps naming the former primary.
        self._sentinels.rotate(-1)


class ClusterLocator(EndpointLocator):
    """Asks the nodes of a cluster for the primary that owns a slot."""

    def __init__(self, seeds: Iterable[Address], slot: int, ask: Ask) -> None:
        super().__init__()
        self._seeds = tuple(seeds)
        self._nodes = deque(self._seeds)
        self._slot = slot
        self._ask = ask
        self._moved: Address | None = None

    async def find(self) -> Address:
        """The node that the last MOVED named, otherwise the answer of the first node that knows the slot's owner."""
        moved, self._moved = self._moved, None
        if moved is not None:
            return moved
        failures = _Failures()
        for _ in range(len(self._nodes)):
            node = self._nodes[0]
            try:
                ranges = await self._ask(node, "CLUSTER", "SLOTS")
            except (exceptions.RedisError, OSError) as error:
                failures.add(node, error)
            else:
                owner = self._owner(ranges, node)
                if owner is not None:
                    return owner
                failures.add(node, "knows no owner of the slot")
            self._nodes.rotate(-1)
        raise failures.error(f"no node of the cluster names the owner of slot {self._slot}")

    def _owner(self, ranges: Iterable[Any], told_by: Address) -> Address | None:
        """The owner of the slot in a reply to CLUSTER SLOTS. Remembers the nodes in it, to ask them later."""
        owner, nodes = None, [told_by]
        for first, last, *members in ranges:
            addresses = [_address(member, told_by) for member in members]
            nodes += [address for address in addresses if address is not None]
            if first <= self._slot <= last and addresses:
                owner = addresses[0]
        self._nodes = deque(dict.fromkeys((*nodes, *self._seeds)))
        return owner

    def _invalidated(self, error: Exception, asked: Address) -> None:
        if isinstance(error, exceptions.MovedError) and error.host != _UNKNOWN:
            self._moved = (error.host or asked[0], error.port)
        else:
            # This node's view may be out of date.
            self._nodes.rotate(-1)


class _Failures:
    """Collects why servers gave no answer."""

    def __init__(self) -> None:
        self._words: list[str] = []
        self._kind: type[exceptions.RedisError] = exceptions.ConnectionError

    def add(self, address: Address, reason: Exception | str) -> None:
        """Add one server's reason."""
        if isinstance(reason, exceptions.AuthenticationError | exceptions.NoPermissionError):
            # An operator must fix this; the other errors may go away by themselves.
            self._kind = type(reason)
        self._words.append(f"{shown(address)}: {reason}".removesuffix("."))

    def error(self, sentence: str) -> exceptions.RedisError:
        """All reasons as one error."""
        return self._kind(f"{sentence} ({'; '.join(self._words)})")


def _address(member: list[Any], told_by: Address) -> Address | None:
    """The address of a node in a reply to CLUSTER SLOTS. An empty name means the node that replied."""
    host, port = member[0], int(member[1])
    if host == _UNKNOWN.encode():
        return None
    return (host.decode() if host else told_by[0]), port
