"""Makes a server lose its functions and scripts, as a restart without a disk does."""

import contextlib

from redis.asyncio import Redis
from redis.exceptions import ResponseError


async def forget_functions(client: Redis) -> None:
    """Delete all functions and scripts of a server."""
    await client.script_flush()
    with contextlib.suppress(ResponseError):  # fakeredis knows no functions
        await client.function_flush()
