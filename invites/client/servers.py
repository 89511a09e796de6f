"""The shards as a client sees them: those that one connection reaches, with retries."""

from __future__ import annotations

import logging
from itertools import groupby
from typing import TYPE_CHECKING, Final, TypeVar

from tenacity import AsyncRetrying, retry_if_exception, stop_never

from invites.connection.errors import ErrorKind, classify, passes
from invites.keys import Keys
from invites.values.backoff import exponential

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from redis.asyncio import Redis
    from tenacity import RetryCallState
    from tenacity.stop import StopBaseT

    from invites.connection.clients import Clients

_Reply = TypeVar("_Reply")

_FIRST_MS: Final = 50
_LONGEST_MS: Final = 1_000

_log = logging.getLogger(__name__)


def keys_of_all(prefix: str, shards: int) -> list[Keys]:
    """The keys of each shard. Raises ValueError when there is none."""
    if shards < 1:
        raise ValueError(f"shards must be 1 or more, not {shards}")
    return [Keys(prefix, shard, shards) for shard in range(shards)]


def by_client(clients: Clients, all_keys: list[Keys]) -> list[tuple[Redis, list[Keys]]]:
    """The shards that are reached over one client: all of them, or one on a cluster."""
    return [(client, list(found)) for client, found in groupby(all_keys, clients.of)]


async def until_served(
    doing: str,
    call: Callable[[], Awaitable[_Reply]],
    stop: StopBaseT = stop_never,
    *,
    warn: Callable[..., None] = _log.warning,
) -> _Reply:
    """The reply to `call`. It is retried with back-off while the server is unreachable or lacks the consumer group.

    `doing` completes "… is waiting for the server", which is logged once, with `warn`. Other errors are raised, and the
    last one when `stop` says so.
    """

    def say(state: RetryCallState) -> None:
        if state.attempt_number == 1 and state.outcome is not None:
            warn("%s is waiting for the server: %s", doing, state.outcome.exception())

    async def attempt() -> _Reply:
        return await call()

    trying = AsyncRetrying(
        retry=retry_if_exception(_is_worth_it),
        wait=exponential(_FIRST_MS, _LONGEST_MS),
        before_sleep=say,
        reraise=True,
        stop=stop,
    )
    return await trying(attempt)


def _is_worth_it(error: BaseException) -> bool:
    return passes(error) or classify(error) is ErrorKind.NO_GROUP
