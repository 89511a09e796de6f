"""Redis clients from a URL, with every time-out stated and nothing retried behind the caller's back.

redis-py 8 silently repeats a command up to ten times. A repeated `XREADGROUP` takes further entries while
those of the lost reply stay behind in the pending list, and a commit must know that its reply was lost. So
repeating is switched off here, and whoever calls decides.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any, Final

import hiredis
from redis import exceptions
from redis.asyncio import Connection, ConnectionPool, Redis, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from invites import SERVICE

if TYPE_CHECKING:
    from redis.typing import EncodableT

BLOCK_MS: Final = 2000
"""The longest that a command may wait on the server (ms), so that a lost connection is noticed."""

_CONNECT_S: Final = 2.0
_REPLY_S: Final = 5.0  # a server that answers later than this is taken for lost
_READ_SIZE: Final = 256 * 1024  # bytes; a full batch of entries in one read

# What a server answers while it cannot serve, but will later, or once an operator has acted.
_AWAY_ANSWERS: Final = ("BUSY ", "MISCONF ", "NOREPLICAS ", "UNKILLABLE ")
_AWAY: Final = (
    exceptions.ConnectionError,  # LOADING and refused credentials are such, too
    exceptions.TimeoutError,
    exceptions.ReadOnlyError,
    exceptions.ClusterDownError,  # MASTERDOWN, too
    exceptions.TryAgainError,
    exceptions.NoPermissionError,
    OSError,
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
    pass


class _TlsConnection(_Packed, SSLConnection):
    pass


class _UnixConnection(_Packed, UnixDomainSocketConnection):
    pass


def connect(url: str, purpose: str, *, block_ms: int = 0) -> Redis:
    """A client for `url` (see `invites.redis_url`); it connects at its first command. The caller closes it.

    `purpose` completes the name that the server shows in CLIENT LIST. Replies are bytes. A client whose
    commands may wait on the server says how long with `block_ms` (at most `BLOCK_MS`): its replies may take
    that much longer, so that no time-out of ours can cut a read short.

    Raises ValueError when `block_ms` is too long or when the URL has another scheme.
    """
    if not 0 <= block_ms <= BLOCK_MS:
        raise ValueError(f"block_ms must be from 0 to {BLOCK_MS}, not {block_ms}")
    settings: dict[str, Any] = dict(parse_url(url))
    kind = settings.pop("connection_class", Connection)
    ours = {SSLConnection: _TlsConnection, UnixDomainSocketConnection: _UnixConnection}
    # What stands here wins over what the URL says.
    settings |= {
        "connection_class": ours.get(kind, _TcpConnection),
        "socket_timeout": _REPLY_S + block_ms / 1000,
        "socket_connect_timeout": _CONNECT_S,
        "socket_read_size": _READ_SIZE,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
        "decode_responses": False,
        "client_name": f"{SERVICE}:{purpose}:{os.getpid()}",
    }
    return Redis.from_pool(ConnectionPool(**settings))


def is_away(error: BaseException) -> bool:
    """Whether `error` says that the server cannot serve now, not that something is wrong with the command."""
    if isinstance(error, _AWAY):
        return True
    return isinstance(error, exceptions.ResponseError) and str(error).startswith(_AWAY_ANSWERS)


def is_no_group(error: BaseException) -> bool:
    """Whether `error` says that the consumer group, or its stream, is missing."""
    return isinstance(error, exceptions.ResponseError) and str(error).startswith("NOGROUP")


async def forsake(client: Redis, error: BaseException) -> None:
    """Drop idle connections after an `error` that a new connection may not meet. Never raises.

    After a fail-over the old connections still lead to the former master, which answers READONLY for ever.
    """
    if isinstance(error, exceptions.ReadOnlyError | exceptions.MasterDownError):
        with contextlib.suppress(exceptions.RedisError, OSError):
            await client.connection_pool.disconnect(inuse_connections=False)
