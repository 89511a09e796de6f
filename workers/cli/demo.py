"""`invites demo`: calls played in the terminal."""

from __future__ import annotations

import asyncio

from workers.cli.options import Common, ConfigFile, Format, Level, LogFormat, LogLevel, RedisUrl


def demo(
    config: ConfigFile = None,
    redis_url: RedisUrl = None,
    log_level: LogLevel = Level.WARN,
    log_format: LogFormat = Format.TEXT,
) -> int:
    """Play calls on this machine, with a server, a worker and devices of its own. Ends by itself.

    Since it brings all of that, it needs no server and no configuration: --config and --redis-url are checked, and
    that is all.
    """
    from workers.lab.demo import play

    Common(config, redis_url, log_level, log_format).set_up()
    return asyncio.run(play())
