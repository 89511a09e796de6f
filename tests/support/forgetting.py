"""Makes a server lose its functions and scripts, as a restart without a disk does, or refuse each call of them."""

import contextlib
from collections.abc import AsyncIterator

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from invites.store.scripts import Script, Scripts


async def forget_functions(client: Redis) -> None:
    """Delete all functions and scripts of a server."""
    await client.script_flush()
    with contextlib.suppress(ResponseError):  # fakeredis knows no functions
        await client.function_flush()


@contextlib.asynccontextmanager
async def refused_functions(client: Redis, error: str) -> AsyncIterator[None]:
    """Let each function of the workers answer with this error."""
    scripts = Scripts()
    assert scripts.library is not None
    lines = [f"#!lua name={scripts.library.name}"]
    for script in vars(scripts).values():
        if isinstance(script, Script):
            refusing = f"function() return redis.error_reply('{error}') end"
            lines.append(f"redis.register_function('{script.name}', {refusing})")
    await client.function_load("\n".join(lines), replace=True)
    try:
        yield
    finally:
        await forget_functions(client)
