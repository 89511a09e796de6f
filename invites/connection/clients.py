"""Redis clients from a URL, with every time-out stated and nothing retried behind the caller's back.

redis-py 8 silently repeats a command up to ten times. A repeated `XREADGROUP` takes further entries while
those of the lost reply stay behind in the pending list, and a commit must know that its reply was lost. So
repeating is switched off here, and whoever calls decides.

For the same reason its cluster client is not used: it repeats, sends ASKING over whichever connection is free, and
closes all connections, those at work included, when one node says CLUSTERDOWN. A client here belongs to a shard and
leads to the one server that has it, see `invites.connection.discovery`.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

import hiredis
from redis import exceptions
from redis.asyncio import Connection, ConnectionPool, Redis, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.crc import key_slot

from invites import SERVICE
from invites.connection.discovery import ClusterLocator, EndpointLocator, FixedLocator, SentinelLocator
from invites.connection.url import parse_redis_url, url_of_server
from invites.values.secret import Secret

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from redis.typing import EncodableT

    from invites.connection.discovery import Ask
    from invites.connection.url import Address, Credentials, RedisUrl
    from invites.keys import Keys

BLOCK_MS: Final = 2000
"""The longest that a command may wait on the server (ms), so that a lost connection is noticed."""

_CONNECT_S: Final = 2.0
_REPLY_S: Final = 5.0  # a server that answers later than this is taken for lost
_MOST_CONNECTIONS: Final = 10_000  # what a server allows by itself (maxclients): many shards work at once
_READ_SIZE: Final = 256 * 1024  # bytes; a full batch of entries in one read

# What a server answers while it cannot serve, but will later, or once an operator has acted.
_AWAY_ANSWERS: Final = ("BUSY ", "MISCONF ", "NOREPLICAS ", "UNBLOCKED ", "UNKILLABLE ")
# A slot is being moved away; the script was refused before it had done anything (lua/main.lua sees to that).
_MOVING: Final = "non local key in a cluster"
_AWAY: Final = (
    exceptions.ConnectionError,  # LOADING and refused credentials are such, too
    exceptions.TimeoutError,
    exceptions.ReadOnlyError,
    exceptions.ClusterDownError,  # MASTERDOWN, too
    exceptions.AskError,  # MOVED, too
    exceptions.TryAgainError,
    exceptions.NoPermissionError,
    OSError,
)
# What another server may not answer.
_INVALIDATING: Final = (
    exceptions.ConnectionError,
    exceptions.TimeoutError,
    exceptions.ReadOnlyError,
    exceptions.ClusterDownError,
    exceptions.MovedError,
)


class _Packed:
    """Packs commands in C: the 1,500 arguments of a full commit take 0.14 ms in place of 0.62."""

    def pack_command(self, *arguments: EncodableT) -> list[bytes]:
        """The command as it goes over the wire; a name of two words may come as one ("CONFIG GET")."""
        name = arguments[0]
        if isinstance(name, str) and " " in name:
            arguments = (*name.split(), *arguments[1:])
        try:
            return [hiredis.pack_command(arguments)]  # type: ignore[arg-type] # the stub knows one argument
        except TypeError as error:
            raise exceptions.DataError(str(error)) from error


class _TcpConnection(_Packed, Connection):
    """A connection that asks where it has to lead before it is made, and again when that has become doubtful."""

    def __init__(self, *, locator: EndpointLocator, **settings: Any) -> None:  # noqa: ANN401 - redis-py's own
        super().__init__(**settings)
        self._locator = locator
        self._generation = -1

    async def connect_check_health(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 - redis-py's own
        """Connect unless there is a connection that leads where it should."""
        locator = self._locator
        if self.is_connected and self._generation == locator.generation:
            return
        await self.disconnect()
        self._generation = locator.generation
        self.host, self.port = await locator.find()
        try:
            await super().connect_check_health(*arguments, **options)
        except exceptions.RedisError as error:
            self._invalidate(error)
            raise

    async def read_response(self, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - redis-py's own
        """The reply. What says that this may be the wrong server has all connections renewed."""
        try:
            return await super().read_response(*arguments, **options)
        except exceptions.RedisError as error:
            self._invalidate(error)
            raise

    def _invalidate(self, error: Exception) -> None:
        # A former primary that nobody follows any more says NOREPLICAS, if it is told to.
        if isinstance(error, _INVALIDATING) or str(error).startswith("NOREPLICAS "):
            self._locator.invalidate(self._generation, error, (self.host, self.port))


class _TlsConnection(_TcpConnection, SSLConnection):
    pass


class _UnixConnection(_Packed, UnixDomainSocketConnection):
    pass


def connect(url: str, purpose: str, *, keys: Keys | None = None, block_ms: int = 0) -> Redis:
    """A client for `url` (see `invites.connection.url`); it connects at its first command. The caller closes it.

    `keys` says which shard it is for; a cluster has to be told, others have all shards in one place. `purpose`
    completes the name that the server shows in CLIENT LIST. Replies are bytes. A client whose commands may wait on
    the server says how long with `block_ms` (at most `BLOCK_MS`): its replies may take that much longer, so that no
    time-out of ours can cut a read short.

    Raises ValueError when `block_ms` is too long, when the URL is unusable, or when a cluster's shard is missing.
    """
    if not 0 <= block_ms <= BLOCK_MS:
        raise ValueError(f"block_ms must be from 0 to {BLOCK_MS}, not {block_ms}")
    parsed = parse_redis_url(Secret(url))
    settings = {
        **_settings(parsed.credentials, purpose),
        "db": parsed.database,
        "socket_timeout": _REPLY_S + block_ms / 1000,
        "max_connections": _MOST_CONNECTIONS,
    }
    if parsed.kind == "unix":
        pool = ConnectionPool(_UnixConnection, path=parsed.path, **settings)
    else:
        kind, tls = _transport(parsed, over_tls=parsed.tls is not None)
        locator = _locator_for(parsed, purpose, keys)
        pool = ConnectionPool(kind, locator=locator, **settings, **tls)
    return Redis.from_pool(pool)


async def find_server(url: str, keys: Keys) -> Secret:
    """The URL of the one server that has the shard now, for clients that know no sentinels and no clusters.

    Raises redis exceptions when it cannot be found.
    """
    parsed = parse_redis_url(Secret(url))
    if not parsed.kind or parsed.kind == "unix":
        return Secret(url)
    return url_of_server(parsed, await _locator_for(parsed, "seeking", keys).find())


class Clients:
    """The clients of one purpose for all shards at `url`: one for each shard on a cluster, else one for all.

    `kind` is that of the URL.
    """

    def __init__(self, url: str, purpose: str, *, block_ms: int = 0) -> None:
        self._url = url
        self._purpose = purpose
        self._block_ms = block_ms
        self.kind = parse_redis_url(Secret(url)).kind
        self._clients: dict[int, Redis] = {}

    def of(self, keys: Keys) -> Redis:
        """The client for a shard."""
        shard = keys.shard if self.kind == "cluster" else 0
        if shard not in self._clients:
            self._clients[shard] = connect(self._url, self._purpose, keys=keys, block_ms=self._block_ms)
        return self._clients[shard]

    async def aclose(self) -> None:
        """Close all connections."""
        for client in self._clients.values():
            await client.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


def asking(url: RedisUrl, purpose: str) -> Ask:
    """Asks sentinels, or nodes of a cluster, with the credentials that `url` has for them."""
    if url.kind == "sentinel":
        return _Asking(url, url.sentinel_credentials, purpose, over_tls=url.sentinel_tls)
    return _Asking(url, url.credentials, purpose, over_tls=url.tls is not None)


def is_away(error: BaseException) -> bool:
    """Whether `error` says that the server cannot serve now, not that something is wrong with the command."""
    if isinstance(error, _AWAY):
        return True
    if not isinstance(error, exceptions.ResponseError):
        return False
    return str(error).startswith(_AWAY_ANSWERS) or _MOVING in str(error)


def is_no_group(error: BaseException) -> bool:
    """Whether `error` says that the consumer group, or its stream, is missing."""
    return isinstance(error, exceptions.ResponseError) and str(error).startswith("NOGROUP")


def _settings(credentials: Credentials, purpose: str) -> dict[str, Any]:
    """What all our connections have in common."""
    username, password = credentials.username, credentials.password
    return {
        "username": username and username.reveal(),
        "password": password and password.reveal(),
        "socket_timeout": _REPLY_S,
        "socket_connect_timeout": _CONNECT_S,
        "socket_read_size": _READ_SIZE,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
        "decode_responses": False,
        "client_name": f"{SERVICE}:{purpose}:{os.getpid()}",
    }


def _transport(url: RedisUrl, *, over_tls: bool) -> tuple[type[_TcpConnection], dict[str, Any]]:
    return (_TlsConnection, dict(url.tls or {})) if over_tls else (_TcpConnection, {})


def _locator_for(url: RedisUrl, purpose: str, keys: Keys | None) -> EndpointLocator:
    if url.kind == "sentinel":
        return SentinelLocator(url.hosts, url.service, asking(url, purpose))
    if url.kind == "cluster":
        if keys is None:
            raise ValueError("a client for a cluster must be told its shard")
        return ClusterLocator(url.hosts, key_slot(keys.base.encode()), asking(url, purpose))
    return FixedLocator(url.hosts[0])


class _Asking:
    """Asks sentinels, or nodes of a cluster, over a connection that is closed at once."""

    def __init__(self, url: RedisUrl, credentials: Credentials, purpose: str, *, over_tls: bool) -> None:
        self._kind, tls = _transport(url, over_tls=over_tls)
        self._settings = {**_settings(credentials, purpose), **tls}

    async def __call__(self, address: Address, *command: str) -> Any:  # noqa: ANN401 - any reply
        connection = self._kind(locator=FixedLocator(address), **self._settings)
        try:
            await connection.connect()  # type: ignore[no-untyped-call] # redis-py has no annotation here
            await connection.send_command(*command)
            return await connection.read_response()
        finally:
            await connection.disconnect(nowait=True)
