"""A server that has lost what it was given to run, as after a restart without a disk."""

import contextlib

from redis.asyncio import Redis
from redis.exceptions import ResponseError


async def forget_functions(client: Redis) -> None:
    """Take all functions and scripts away from a server."""
    await client.script_flush()
    with contextlib.suppress(ResponseError):  # fakeredis knows no functions
        await client.function_flush()
