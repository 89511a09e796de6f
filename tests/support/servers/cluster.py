"""A cluster of three primaries, with or without a replica each, whose slots can be moved."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, Self

from redis.crc import key_slot

from tests.support.servers.front import TlsFront
from tests.support.servers.node import HOST, LASTING, Node, free_port, wait_for

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

_PRIMARIES: Final = 3
_SLOTS: Final = 16_384
_NODE_TIMEOUT_MS: Final = 1_500  # with less, nodes on a busy machine count as dead
_PAGE: Final = 50  # keys
_OPTIONS: Final = {
    "save": "",
    "cluster-enabled": "yes",
    "cluster-node-timeout": str(_NODE_TIMEOUT_MS),
    "cluster-replica-validity-factor": "0",
    "repl-diskless-sync-delay": "0",
    "repl-ping-replica-period": "1",
}


class Cluster:
    """Six nodes, or three without `replicas`. `url` names two of them; clients find the others.

    With `tls` the nodes send clients to TLS, each to a front of its own. Without `lasting` what a node has is gone when
    it dies.
    """

    def __init__(self, *, replicas: bool = True, tls: bool = False, lasting: bool = True) -> None:
        count = 2 * _PRIMARIES if replicas else _PRIMARIES
        self.fronts = [TlsFront() for _ in range(count)] if tls else []
        self.nodes = []
        for number in range(count):
            bus = str(free_port())
            options = {**_OPTIONS, **(LASTING if lasting else {}), "cluster-port": bus}
            if tls:
                announced = {"port": str(self.fronts[number].port), "bus-port": bus}
                options |= {f"cluster-announce-{name}": port for name, port in announced.items()}
            self.nodes.append(Node(options))
        self._ids: dict[Node, str] = {}

    def replica_of(self, primary: Node) -> Node:
        """The replica of a primary."""
        _, _, found = primary.command("ROLE")
        return next(node for node in self.nodes if str(node.port) == found[0][1])

    @property
    def url(self) -> str:
        """Where the cluster is found."""
        scheme = "rediss+cluster" if self.fronts else "redis+cluster"
        known: Sequence[Node | TlsFront] = self.fronts or self.nodes
        return f"{scheme}://" + ",".join(f"{HOST}:{one.port}" for one in known[:2])

    def owner(self, key: str) -> Node:
        """The primary that serves a key, as most nodes that run see it."""
        slot = key_slot(key.encode())
        seen = []
        for node in self.nodes:
            if node.running:
                ranges = node.command("CLUSTER", "SLOTS")
                seen += [members[0][1] for first, last, *members in ranges if first <= slot <= last]
        port = max(seen, key=seen.count)
        known: Sequence[Node | TlsFront] = self.fronts or self.nodes
        return next(node for node, one in zip(self.nodes, known, strict=True) if one.port == port)

    def other_primary(self, than: Node) -> Node:
        """A primary that is another one."""
        return next(node for node in self.nodes if node is not than and node.running and node.is_primary())

    def forbid_fail_over(self) -> None:
        """Keep all replicas that run from taking over."""
        for node in self.nodes:
            if node.running:
                node.command("CONFIG", "SET", "cluster-replica-no-failover", "yes")

    def allow_fail_over(self, replica: Node) -> None:
        """Let a replica take over, as all may from the start."""
        replica.command("CONFIG", "SET", "cluster-replica-no-failover", "no")

    def wait_until_served(self, key: str, former: Node) -> None:
        """Wait until the key belongs to another node than the `former`, and all nodes report a healthy cluster."""

        def served() -> bool:
            return self.owner(key) is not former and self._is_well()

        wait_for(served, "another node is the primary", timeout_s=30.0)

    def wait_until_follower(self, node: Node) -> None:
        """Wait until a former primary is the replica of its successor."""
        wait_for(node.follows, "the former primary is a replica", 30.0)
        wait_for(self._is_well, "all nodes say that all is well")

    def move_by_keys(self, key: str, pause_s: float = 0.0) -> int:
        """Move the slot of a key to another primary the classic way; returns the number of moved keys.

        `pause_s` is how long the slot stays as it is after each step: announced, and some of its keys moved.
        """
        source, target = self.begin_move(key)
        time.sleep(pause_s)
        return self.finish_move(key, source, target, pause_s)

    def begin_move(self, key: str) -> tuple[Node, Node]:
        """Announce that the slot of a key moves, from where and to where."""
        slot, source = key_slot(key.encode()), self.owner(key)
        target = self.other_primary(source)
        target.command("CLUSTER", "SETSLOT", slot, "IMPORTING", self._ids[source])
        source.command("CLUSTER", "SETSLOT", slot, "MIGRATING", self._ids[target])
        return source, target

    def finish_move(self, key: str, source: Node, target: Node, pause_s: float = 0.0) -> int:
        """Move the keys, and say that the slot has moved."""
        slot = key_slot(key.encode())
        moved, keys = 0, self._some_keys(source, slot)
        while keys:
            source.command("MIGRATE", HOST, target.port, "", 0, 5_000, "KEYS", *keys)
            moved += len(keys)
            if moved == len(keys):
                time.sleep(pause_s)
            keys = self._some_keys(source, slot)
        for node in (target, source, *self.nodes):
            if node.running and node.is_primary():
                node.command("CLUSTER", "SETSLOT", slot, "NODE", self._ids[target])
        return moved

    def settle(self, key: str) -> None:
        """Cancel the move of a key's slot."""
        for node in self.nodes:
            node.command("CLUSTER", "SETSLOT", key_slot(key.encode()), "STABLE")

    def move_atomically(self, key: str) -> None:
        """Move the slot of a key to another primary the way of Valkey 9, as a replica is made."""
        slot, source = key_slot(key.encode()), self.owner(key)
        target = self._ids[self.other_primary(source)]
        source.command("CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", slot, slot, "NODE", target)
        wait_for(lambda: self.owner(key) is not source, "the slot has moved")

    def __enter__(self) -> Self:
        for front, node in zip(self.fronts, self.nodes, strict=False):
            front.target = node.port
            front.__enter__()
        for node in self.nodes:
            node.start()
            self._ids[node] = node.command("CLUSTER", "MYID")
        primaries, replicas = self.nodes[:_PRIMARIES], self.nodes[_PRIMARIES:]
        for number, node in enumerate(primaries):
            first, last = (_SLOTS * number // _PRIMARIES, _SLOTS * (number + 1) // _PRIMARIES - 1)
            node.command("CLUSTER", "ADDSLOTSRANGE", first, last)
            node.command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for node in self.nodes:
            for other in self.nodes:
                if other is not node:
                    node.command("CLUSTER", "MEET", HOST, other.port, other._options["cluster-port"])
        wait_for(self._all_known, "the nodes know each other", 30.0)
        for primary, replica in zip(primaries, replicas, strict=False):
            replica.command("CLUSTER", "REPLICATE", self._ids[primary])
        for replica in replicas:
            wait_for(replica.follows, "the replicas get what the primaries write")
        wait_for(self._is_well, "all nodes say that all is well", 30.0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for node in self.nodes:
            node.remove()
        for front in self.fronts:
            front.__exit__(kind, error, trace)

    def _all_known(self) -> bool:
        return all(
            f"cluster_known_nodes:{len(self.nodes)}\r" in node.command("CLUSTER", "INFO")
            and "handshake" not in node.command("CLUSTER", "NODES")
            for node in self.nodes
        )

    def _is_well(self) -> bool:
        return all(
            "cluster_state:ok" in node.command("CLUSTER", "INFO") for node in self.nodes if node.running
        )

    def _some_keys(self, node: Node, slot: int) -> list[str]:
        found: list[str] = node.command("CLUSTER", "GETKEYSINSLOT", slot, _PAGE)
        return found
