"""A command's connection to the server, and sentences about the server's errors."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from redis.asyncio import Redis
from redis.exceptions import (
    AskError,
    AuthenticationError,
    MovedError,
    NoPermissionError,
    RedisError,
    ResponseError,
    TryAgainError,
)

from invites.config import Config
from invites.connection.clients import Clients
from invites.connection.url import address_of, parse_redis_url
from invites.keys import Keys, shard_of
from invites.values.printable import escape
from workers.cli.options import CommandError, Common
from workers.cli.tls import tls_fault

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine


class Session(Struct, frozen=True):
    """The connection and configuration of a command."""

    config: Config
    clients: Clients
    address: str

    def client(self, keys: Keys) -> Redis:
        """The client for a shard."""
        return self.clients.of(keys)

    def shard(self, number: int) -> Keys:
        """The keys of a shard."""
        return self.config.shards()[number]

    def shard_for(self, routing_key: str) -> Keys:
        """The keys of the shard that `routing_key` belongs to."""
        return self.shard(shard_of(routing_key, self.config.redis.shards))

    def shards(self) -> list[Keys]:
        """The keys of all shards."""
        return self.config.shards()


def run(
    common: Common,
    command: Callable[[Session], Coroutine[Any, Any, int]],
    *,
    block_ms: int = 0,
) -> int:
    """Run a command that needs the server and return its exit status, 1 after Ctrl-C.

    Raises CommandError for an error that the operator can fix.
    """
    url = common.url()
    address = address_of(url)

    async def session() -> int:
        async with Clients(url.reveal(), "cli", block_ms=block_ms) as clients:
            return await command(Session(common.config, clients, address))

    try:
        return asyncio.run(session())
    except KeyboardInterrupt:
        return 1
    except BrokenPipeError:
        raise  # our own output is closed; redis-py wraps the errors of its connections
    except (RedisError, OSError) as error:
        fault = (
            "" if isinstance(error, ResponseError | AuthenticationError) else tls_fault(parse_redis_url(url))
        )
        raise CommandError(f"{trouble(address, error)} {fault}".strip()) from None


def trouble(address: str, error: Exception) -> str:
    """One sentence about an error of the server, with a remedy."""
    said = escape(str(error)) or type(error).__name__
    if isinstance(error, AuthenticationError):
        return f"Redis at {address} refuses the credentials ({said}): check user and password in redis.url."
    if isinstance(error, NoPermissionError):
        return f"Redis at {address} does not allow the command ({said}): extend the ACL of this user."
    if isinstance(error, MovedError):
        return (
            f"Redis at {address} no longer owns the shard ({said}): try again. For a cluster, use "
            "`redis+cluster://` in `redis.url`."
        )
    if isinstance(error, AskError | TryAgainError):
        return f"Redis at {address} is moving the shard to another node ({said}): try again in a moment."
    if isinstance(error, ResponseError):
        return f"Redis at {address} returns an error: {said}."
    return f"Redis at {address} does not answer ({said}): check that it runs and that redis.url is right."
