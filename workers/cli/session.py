"""A command's connection to the server, and sentences about the server's errors."""

from __future__ import annotations

import asyncio
import errno
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct
from redis.asyncio import Redis
from redis.exceptions import (
    AskError,
    AuthenticationError,
    BusyLoadingError,
    MovedError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
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

NAME_THE_PRIMARY: Final = "name its primary in redis.url, or its sentinels or cluster"
_OF_THE_OUTPUT: Final = (errno.EPIPE, errno.ENOSPC)
"""Our own output is closed, or its disk full: redis-py wraps the errors of its connections."""


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

    async def wrong_shards(self) -> str | None:
        """Why the command would see a part of the calls only, in a sentence; None if it sees all, or may not look.

        During a reshard both numbers are right. Raises redis-py's errors.
        """
        from invites.store.layout import mismatch

        first = self.shard(0)
        try:
            wrong = await mismatch(self.client(first), first, self.config.redis.shards)
        except NoPermissionError:
            return None
        return None if wrong is None else f"{wrong} Give the workers' configuration with --config."


def run(
    common: Common,
    command: Callable[[Session], Coroutine[Any, Any, int]],
    *,
    block_ms: int = 0,
    any_shards: bool = False,
) -> int:
    """Run a command that needs the server and return its exit status, 1 after Ctrl-C.

    `any_shards`: the command can do with another number of shards than the server's. Raises CommandError for an error
    that the operator can fix.
    """
    url = common.url()
    address = address_of(url)

    async def session() -> int:
        async with Clients(url.reveal(), "cli", block_ms=block_ms) as clients:
            opened = Session(common.config, clients, address)
            if not any_shards and (wrong := await opened.wrong_shards()):
                raise CommandError(wrong)
            return await command(opened)

    try:
        return asyncio.run(session())
    except KeyboardInterrupt:
        return 1
    except (RedisError, OSError) as error:
        if getattr(error, "errno", None) in _OF_THE_OUTPUT:
            raise
        fault = (
            "" if isinstance(error, ResponseError | AuthenticationError) else tls_fault(parse_redis_url(url))
        )
        raise CommandError(f"{trouble(address, error)} {fault}".strip()) from None


def trouble(address: str, error: Exception) -> str:
    """One sentence about an error of the server, with a remedy."""
    said = escape(str(error)).rstrip(". ") or type(error).__name__
    for answer, sentence in _ANSWERS.items():
        if answer in said:
            return f"Redis at {address} {sentence.format(said=said)}."
    if isinstance(error, AuthenticationError) and said.startswith("no sentinel names"):
        return f"The sentinels of {address} refuse the credentials ({said}): {FOR_SENTINELS}."
    for kind, sentence in _TROUBLES.items():
        if isinstance(error, kind):
            return f"Redis at {address} {sentence.format(said=said)}."
    return f"Redis at {address} does not answer ({said}): check that it runs and that redis.url is right."


_ANSWERS: Final = {
    "cluster support disabled": "is no cluster: use `redis://` in redis.url",
    "max number of clients": "has too many clients ({said}): raise maxclients, or find out who connects",
    "MISCONF ": "cannot write to its disk ({said}): make room there, and it goes on by itself",
}
"""What is said of errors that redis-py has no type for, by a part of the server's answer."""

FOR_SENTINELS: Final = "check sentinel_username and sentinel_password in redis.url"
"""The remedy if sentinels refuse the credentials: user and password of the URL are those of the servers."""

_TROUBLES: Final[dict[type[Exception] | tuple[type[Exception], ...], str]] = {
    BusyLoadingError: "is still loading its data: try again in a moment",
    AuthenticationError: "refuses the credentials ({said}): check user and password in redis.url",
    NoPermissionError: "does not allow the command ({said}): use the user for it, or extend the ACL of this one",
    MovedError: "no longer owns the shard ({said}): try again. For a cluster, use `redis+cluster://` in `redis.url`",
    (AskError, TryAgainError): "is moving the shard to another node ({said}): try again in a moment",
    OutOfMemoryError: "is full ({said}): raise maxmemory, or find out what uses it",
    ReadOnlyError: f"is a replica, which takes no events: {NAME_THE_PRIMARY}",
    ResponseError: "returns an error: {said}",
}
"""What is said of errors, the special ones first: subclasses before ResponseError, MovedError before AskError."""
