"""Redis clients from a URL. Every time-out is explicit, and no command is retried behind the caller's back.

redis-py 8 repeats a command up to ten times by default. That is not safe here: a repeated `XREADGROUP` takes further
entries, while those of the lost reply stay in the pending list, and a commit must know that its reply was lost. So
retries are off, and callers decide.

The cluster client of redis-py is not used for the same reason. It also sends ASKING over any free connection, and
closes all connections, busy ones included, when one node answers CLUSTERDOWN. A client here belongs to one shard and
connects to the one server that owns it: see `invites.connection.discovery`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from redis.asyncio import ConnectionPool, Redis
from redis.crc import key_slot

from invites.connection.connections import REPLY_S, UnixConnection, asker, settings, transport
from invites.connection.discovery import ClusterLocator, EndpointLocator, FixedLocator, SentinelLocator
from invites.connection.ordered import OrderedClient
from invites.connection.url import parse_redis_url, url_of_server
from invites.values.secret import Secret

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from invites.connection.url import RedisUrl
    from invites.keys import Keys

BLOCK_MS: Final = 2000
"""The longest that a command may block on the server (ms). A lost connection is noticed within this time."""

_MOST_CONNECTIONS: Final = 10_000  # the default `maxclients` of a server; many shards work at once


def connect(
    url: str,
    purpose: str,
    *,
    keys: Keys | None = None,
    block_ms: int = 0,
    max_connections: int = _MOST_CONNECTIONS,
) -> Redis:
    """A client for `url` (see `invites.connection.url`). It connects at its first command; the caller closes it.

    Replies are bytes. `purpose` completes the client name in CLIENT LIST. `keys` names the shard; only a cluster needs
    it. `block_ms` (at most `BLOCK_MS`) is how long commands may block on the server: replies may take that much
    longer, so that no time-out cuts a blocking read short. A command that finds `max_connections` in use fails.

    Raises ValueError when `block_ms` is too long, the URL is unusable, or `keys` is missing for a cluster.
    """
    if not 0 <= block_ms <= BLOCK_MS:
        raise ValueError(f"block_ms must be from 0 to {BLOCK_MS}, not {block_ms}")
    parsed = parse_redis_url(Secret(url))
    options = {
        **settings(parsed.credentials, purpose),
        "db": parsed.database,
        "socket_timeout": REPLY_S + block_ms / 1000,
        "max_connections": max_connections,
    }
    if parsed.kind == "unix":
        pool = ConnectionPool(UnixConnection, path=parsed.path, **options)
    else:
        kind, tls = transport(parsed, over_tls=parsed.tls is not None)
        pool = ConnectionPool(kind, locator=_locator_for(parsed, purpose, keys), **options, **tls)
    return Redis.from_pool(pool)


async def find_server(url: str, keys: Keys) -> Secret:
    """The URL of the server that owns the shard now, for clients without support for Sentinel and Cluster.

    Raises redis exceptions when no sentinel or node knows it.
    """
    parsed = parse_redis_url(Secret(url))
    if not parsed.kind or parsed.kind == "unix":
        return Secret(url)
    return url_of_server(parsed, await _locator_for(parsed, "seeking", keys).find())


class Clients:
    """The clients of one purpose for all shards at `url`: one per shard on a cluster, otherwise one for all.

    `kind` is that of the URL. `max_connections` is the limit of each client, see `connect`.
    """

    def __init__(
        self, url: str, purpose: str, *, block_ms: int = 0, max_connections: int = _MOST_CONNECTIONS
    ) -> None:
        self._url = url
        self._purpose = purpose
        self._block_ms = block_ms
        self._max_connections = max_connections
        self.kind = parse_redis_url(Secret(url)).kind
        self._clients: dict[int, Redis] = {}
        self._ordered: dict[Redis, OrderedClient] = {}
        self._reads: dict[Redis, OrderedClient] = {}

    def of(self, keys: Keys) -> Redis:
        """The client for a shard."""
        shard = keys.shard if self.kind == "cluster" else 0
        if shard not in self._clients:
            self._clients[shard] = connect(
                self._url,
                self._purpose,
                keys=keys,
                block_ms=self._block_ms,
                max_connections=self._max_connections,
            )
        return self._clients[shard]

    def ordered(self, keys: Keys) -> OrderedClient:
        """Executes commands in their order, for a shard and all others that share its client."""
        return self._over(self._ordered, keys)

    def reads(self, keys: Keys) -> OrderedClient:
        """The same over another connection, for reads that must not wait for commits under way."""
        return self._over(self._reads, keys)

    async def aclose(self) -> None:
        """Close all connections."""
        for ordered in (*self._ordered.values(), *self._reads.values()):
            await ordered.aclose()
        for client in self._clients.values():
            await client.aclose()

    def _over(self, clients: dict[Redis, OrderedClient], keys: Keys) -> OrderedClient:
        client = self.of(keys)
        if client not in clients:
            clients[client] = OrderedClient(client)
        return clients[client]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


def _locator_for(url: RedisUrl, purpose: str, keys: Keys | None) -> EndpointLocator:
    if url.kind == "sentinel":
        return SentinelLocator(url.hosts, url.service, asker(url, purpose))
    if url.kind == "cluster":
        if keys is None:
            raise ValueError("a client for a cluster needs the keys of its shard")
        return ClusterLocator(url.hosts, key_slot(keys.base.encode()), asker(url, purpose))
    return FixedLocator(url.hosts[0])
