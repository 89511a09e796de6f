"""Where the primary is: asked anew for each connection, so that a client follows it through a fail-over.

All keys of a shard have one hash tag. So on a cluster a shard is in one slot, on one node, and whoever works for a
shard needs no more than to know which node that is: what is true of a single server (pipelines, transactions, a
script and its NOSCRIPT, waiting for entries) is true there as well. Sentinels answer the same question.

No redirection is followed. MOVED says that the command was not executed: the caller hears of it as of a lost
connection, and the next command goes to the node that was named. ASK says that the keys of the slot are partly here
and partly there: a script that was sent after them would run without those that are still to come, so callers wait
until the slot has moved.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

from redis import exceptions

from invites.connection.url import shown

if TYPE_CHECKING:
    from collections.abc import Iterable

    from invites.connection.url import Address


_UNKNOWN = "?"  # in place of the name of a node that others cannot reach, or do not know yet


class Ask(Protocol):
    """Asks the server at an address with one command. Raises redis exceptions."""

    async def __call__(self, address: Address, *command: str) -> Any:  # noqa: ANN401, D102 - any reply
        ...


class EndpointLocator:
    """Where the connections of one client lead; one for each client.

    `generation` counts the times that this has become doubtful. A connection of an earlier one is renewed before it
    is used again: after a fail-over the old ones lead to the former primary, which would answer READONLY for ever.
    """

    def __init__(self) -> None:
        self.generation = 0

    async def find(self) -> Address:
        """The address of the primary. Raises redis exceptions when nobody knows it."""
        raise NotImplementedError

    def invalidate(self, generation: int, error: Exception, asked: Address) -> None:
        """A connection to `asked`, of this generation, has met an error that another server may not answer."""
        if generation == self.generation:
            self.generation += 1
            self._invalidated(error, asked)

    def _invalidated(self, error: Exception, asked: Address) -> None:
        """Make use of what the error says."""


class FixedLocator(EndpointLocator):
    """One address, whoever is behind it: a name or a proxy may lead elsewhere after a fail-over."""

    def __init__(self, address: Address) -> None:
        super().__init__()
        self._address = address

    async def find(self) -> Address:
        """The address."""
        return self._address


class SentinelLocator(EndpointLocator):
    """The primary of a service, as its sentinels name it."""

    def __init__(self, sentinels: Iterable[Address], service: str, ask: Ask) -> None:
        super().__init__()
        self._sentinels = deque(sentinels)
        self._service = service
        self._ask = ask

    async def find(self) -> Address:
        """What the first sentinel says that knows the service; it is the first to be asked the next time."""
        complaints = _Complaints()
        for _ in range(len(self._sentinels)):
            sentinel = self._sentinels[0]
            try:
                primary = await self._ask(sentinel, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._service)
            except (exceptions.RedisError, OSError) as error:
                complaints.add(sentinel, error)
            else:
                if primary is not None:
                    return primary[0].decode(), int(primary[1])
                complaints.add(sentinel, "does not know the service")
            self._sentinels.rotate(-1)
        raise complaints.error(f"no sentinel names the primary of {self._service!r}")

    def _invalidated(self, error: Exception, asked: Address) -> None:
        del error, asked
        # A sentinel that is cut off from the others goes on naming the former primary.
        self._sentinels.rotate(-1)


class ClusterLocator(EndpointLocator):
    """The primary that a slot of a cluster belongs to."""

    def __init__(self, seeds: Iterable[Address], slot: int, ask: Ask) -> None:
        super().__init__()
        self._seeds = tuple(seeds)
        self._nodes = deque(self._seeds)
        self._slot = slot
        self._ask = ask
        self._moved: Address | None = None

    async def find(self) -> Address:
        """The node that the last MOVED has named, else what the first node says that knows the owner of the slot."""
        moved, self._moved = self._moved, None
        if moved is not None:
            return moved
        complaints = _Complaints()
        for _ in range(len(self._nodes)):
            node = self._nodes[0]
            try:
                ranges = await self._ask(node, "CLUSTER", "SLOTS")
            except (exceptions.RedisError, OSError) as error:
                complaints.add(node, error)
            else:
                owner = self._owner(ranges, node)
                if owner is not None:
                    return owner
                complaints.add(node, "knows no owner of it")
            self._nodes.rotate(-1)
        raise complaints.error(f"no node of the cluster says where slot {self._slot} is")

    def _owner(self, ranges: Iterable[Any], told_by: Address) -> Address | None:
        """The owner of the slot in a reply of CLUSTER SLOTS; all its nodes can be asked from now on."""
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
            # It may be this node's view that is out of date.
            self._nodes.rotate(-1)


class _Complaints:
    """What the servers that were asked have said in place of an answer."""

    def __init__(self) -> None:
        self._words: list[str] = []
        self._kind: type[exceptions.RedisError] = exceptions.ConnectionError

    def add(self, address: Address, complaint: Exception | str) -> None:
        """Keep it."""
        if isinstance(complaint, exceptions.AuthenticationError | exceptions.NoPermissionError):
            # What an operator has to mend has other words than what has to be waited for.
            self._kind = type(complaint)
        self._words.append(f"{shown(address)}: {complaint}".removesuffix("."))

    def error(self, sentence: str) -> exceptions.RedisError:
        """All of it as one error."""
        return self._kind(f"{sentence} ({'; '.join(self._words)})")


def _address(member: list[Any], told_by: Address) -> Address | None:
    """A node in a reply of CLUSTER SLOTS. It may leave its name out: that of whoever was asked is meant."""
    host, port = member[0], int(member[1])
    if host == _UNKNOWN.encode():
        return None
    return (host.decode() if host else told_by[0]), port
