"""A primary with a replica, and three sentinels that watch them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Self

from tests.support.servers.node import HOST, LASTING, Node, wait_for

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

SERVICE: Final = "calls"
_SENTINELS: Final = 3
# Sentinels take up to a second to reach a new primary: with less they would count it as down at once.
_DOWN_AFTER_MS: Final = 1_500
_NEVER_MS: Final = 3_600_000
_FAILOVER_MS: Final = 1_000  # for twice as long after a fail-over, no other fail-over begins
_QUICK: Final = {**LASTING, "repl-diskless-sync-delay": "0", "repl-ping-replica-period": "1"}


class Replicated:
    """Two servers, of which one is the primary, and the sentinels.

    `options` are more of the servers' options, and `lines` of the sentinels' configuration; with `masteruser` the
    servers have a file `users.acl`, which must be written before.
    """

    def __init__(self, options: Mapping[str, str] | None = None, lines: Sequence[str] = ()) -> None:
        users = {"aclfile": "users.acl"} if options and "masteruser" in options else {}
        self.servers = [Node({**_QUICK, **(options or {}), **users}) for _ in range(2)]
        self._lines = lines
        self.sentinels: list[Node] = []

    @property
    def url(self) -> str:
        """Its URL, whichever server is the primary."""
        hosts = ",".join(f"{HOST}:{sentinel.port}" for sentinel in self.sentinels)
        return f"redis+sentinel://{hosts}/{SERVICE}/0"

    @property
    def primary(self) -> Node:
        """The server that all sentinels name, once they agree."""
        found: set[Node] = set()

        def agreed() -> bool:
            found.clear()
            found.update(self._named())
            return len(found) == 1

        wait_for(agreed, "the sentinels agree")
        return found.pop()

    def _named(self) -> set[Node]:
        asked = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)
        ports = {int(sentinel.command(*asked)[1]) for sentinel in self.sentinels}
        return {server for server in self.servers if server.port in ports}

    @property
    def replica(self) -> Node:
        """The other one."""
        primary = self.primary
        return next(one for one in self.servers if one is not primary)

    def forbid_fail_over(self) -> None:
        """Keep the sentinels from promoting the replica, however long the primary does not answer."""
        self._count_as_down_after(_NEVER_MS)

    def allow_fail_over(self) -> None:
        """Let the sentinels promote the replica, as they may from the start."""
        self._count_as_down_after(_DOWN_AFTER_MS)

    def _count_as_down_after(self, ms: int) -> None:
        for sentinel in self.sentinels:
            sentinel.command("SENTINEL", "SET", SERVICE, "down-after-milliseconds", ms)

    def wait_until_served(self, former: Node) -> None:
        """Wait until all sentinels name another primary than the `former`, and it takes writes."""

        def served() -> bool:
            named = self._named()
            return former not in named and all(server.is_primary() for server in named)

        wait_for(served, "another server is the primary")

    def wait_until_follower(self, node: Node) -> None:
        """Make a former primary the replica of its successor; returns when it is one."""
        # The sentinels would do that too, some ten seconds later.
        node.command("REPLICAOF", HOST, self.primary.port)
        wait_for(node.follows, "the former primary is a replica", 30.0)

    def __enter__(self) -> Self:
        primary, replica = self.servers
        for server in self.servers:
            server.start()
        replica.command("REPLICAOF", HOST, primary.port)
        self._start_sentinels(primary)
        wait_for(replica.follows, "the replica gets what the primary writes")
        wait_for(self._all_known, "the sentinels know each other and the replica")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for node in (*self.sentinels, *self.servers):
            node.remove()

    def _start_sentinels(self, primary: Node) -> None:
        # They know each other from the beginning, because finding out takes some seconds.
        self.sentinels = [Node(sentinel=True) for _ in range(_SENTINELS)]
        ids = {sentinel: f"{number:040x}" for number, sentinel in enumerate(self.sentinels, 1)}
        for sentinel in self.sentinels:
            lines = [
                f"sentinel myid {ids[sentinel]}",
                f"sentinel monitor {SERVICE} {HOST} {primary.port} 2",
                f"sentinel down-after-milliseconds {SERVICE} {_DOWN_AFTER_MS}",
                f"sentinel failover-timeout {SERVICE} {_FAILOVER_MS}",
                f"sentinel known-replica {SERVICE} {HOST} {self.servers[1].port}",
                *self._lines,
                *(
                    f"sentinel known-sentinel {SERVICE} {HOST} {other.port} {identity}"
                    for other, identity in ids.items()
                    if other is not sentinel
                ),
            ]
            sentinel.configure("\n".join(lines))
            sentinel.start()

    def _all_known(self) -> bool:
        for sentinel in self.sentinels:
            flat = sentinel.command("SENTINEL", "MASTER", SERVICE)
            if (flat["num-other-sentinels"], flat["num-slaves"]) != (str(_SENTINELS - 1), "1"):
                return False
        return True
